"""Amazon Bedrock: the models of many makers through one API."""

from __future__ import annotations

import os

from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm.providers._base import Provider, first_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys
    from collections.abc import Mapping

    if sys.version_info >= (3, 12):
        from typing import Unpack
    else:
        from typing_extensions import Unpack

    from edgequake_llm.providers._base import Key, Settings

_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")


class BedrockProvider(Provider):
    """Amazon Bedrock's Converse API. It has no embeddings and no list of models.

    `api_key` is a Bedrock API key. Without one each request is signed (SigV4) with `access_key_id`,
    `secret_access_key` and, for credentials that hold for a while only, `session_token`. What is given comes before
    the environment, and there the API key comes first. Credentials are taken as they are: profiles, SSO, roles and
    the metadata service of a machine are not read, and nothing is renewed. Ask boto3 for those, and make a new
    provider when there are new ones.

    `model` is a model's id, the id of an inference profile, or the ARN of either.

    Settings and errors are those of `Provider`; every option and what is sent because of it:
    docs/providers/bedrock.md.

    Environment: `AWS_BEARER_TOKEN_BEDROCK`, or `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`;
    `AWS_REGION` or `AWS_DEFAULT_REGION`; `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`.
    """

    name = "bedrock"
    wire = "bedrock"
    default_base_url = "https://bedrock-runtime.{region}.amazonaws.com"
    default_model = "global.anthropic.claude-haiku-4-5-20251001-v1:0"
    key_variables = ("AWS_BEARER_TOKEN_BEDROCK",)
    base_url_variables = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME",)

    __slots__ = ()

    def __init__(
        self,
        api_key: Key | None = None,
        *,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        credentials = self._credentials(
            api_key, access_key_id, secret_access_key, session_token, settings.get("headers")
        )
        region = region or first_set(_REGION, os.environ)
        base_url = settings.get("base_url") or first_set(self.base_url_variables, os.environ)
        if region is None and (credentials is not None or base_url is None):
            message = 'no region: pass region=..., as "us-east-1", or set AWS_REGION'
            raise ConfigurationError(message, provider=self.name)
        signing = None if credentials is None or region is None else (*credentials, region)
        settings["base_url"] = base_url or self._regional(region)
        self._set_up(None, self.wire, api_key, signing, **settings)

    @classmethod
    def _credentials(
        cls,
        api_key: Key | None,
        access_key_id: str | None,
        secret_access_key: str | None,
        session_token: str | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[str, str, str | None] | None:
        """Find what requests are signed with, or `None` where a key or a header stands for it."""
        given = access_key_id or secret_access_key or session_token
        if api_key and given:
            message = "both an API key and an access key: pass api_key=..., or access_key_id=... and its secret"
            raise ConfigurationError(message, provider=cls.name)
        if given:
            if not (access_key_id and secret_access_key):
                missing = "secret_access_key" if access_key_id else "access_key_id"
                message = f"no {missing}: access_key_id=... and secret_access_key=... belong together"
                raise ConfigurationError(message, provider=cls.name)
            return access_key_id, secret_access_key, session_token or None
        if api_key or first_set(cls.key_variables, os.environ) or cls._key_in(headers):
            return None
        access_key_id = first_set(["AWS_ACCESS_KEY_ID"], os.environ)
        secret_access_key = first_set(["AWS_SECRET_ACCESS_KEY"], os.environ)
        if access_key_id is None or secret_access_key is None:
            message = (
                "no credentials: pass api_key=... or set AWS_BEARER_TOKEN_BEDROCK; or pass access_key_id=... and "
                "secret_access_key=... or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
            raise ConfigurationError(message, provider=cls.name)
        return access_key_id, secret_access_key, first_set(["AWS_SESSION_TOKEN"], os.environ)

    @classmethod
    def _regional(cls, region: str | None) -> str:
        """Return the address of the service in a region; China's has an ending of its own."""
        region = str(region)
        if not region.replace("-", "").isalnum() or not region.isascii():
            raise ConfigurationError(f"{region!r} is not a region; they look like us-east-1", provider=cls.name)
        return cls.default_base_url.format(region=region) + (".cn" if region.startswith("cn-") else "")
