"""What botocore says: run by `test_botocore`, in botocore's own environment.

python botocore_calls.py ask URL        asks the server there, whole and streamed, and prints what came
python botocore_calls.py check          reads requests from stdin and prints what does not fit its service model
"""

from __future__ import annotations

import base64
import json
import sys

import botocore.session
from botocore.config import Config
from botocore.exceptions import EventStreamError
from botocore.validate import ParamValidator

MODEL = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0"
SECRET, TOKEN = "secret-of-the-test", "token-of-the-test"
ASKED = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "Grüße"}]}]}
OPERATIONS = {"converse": "Converse", "converse-stream": "ConverseStream", "count-tokens": "CountTokens"}


def ask(url):
    """Ask for an answer, for a stream, and for two that break."""
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="AKIDEXAMPLE0123456",
        aws_secret_access_key=SECRET,
        aws_session_token=TOKEN,
        config=Config(retries={"total_max_attempts": 1}),
    )
    whole = client.converse(**ASKED)
    streamed = list(client.converse_stream(**ASKED)["stream"])
    broken = []
    for _ in range(2):
        try:
            broken.append(len(list(client.converse_stream(**ASKED)["stream"])))
        except EventStreamError as error:
            broken.append([error.response["Error"]["Code"], error.response["Error"]["Message"]])
    return {"whole": whole["output"], "usage": whole["usage"], "streamed": streamed, "broken": broken}


def loaded(value, shape):
    """A value from JSON, with its blobs as bytes and its numbers as they are."""
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if shape.type_name == "list":
        return [loaded(item, shape.member) for item in value]
    if shape.type_name == "structure" and not shape.is_document_type:
        return {
            name: loaded(item, shape.members[name]) if name in shape.members else item for name, item in value.items()
        }
    return value


def check(requests):
    """What botocore would refuse of these requests."""
    model = botocore.session.Session().get_service_model("bedrock-runtime")
    refused = []
    for request in requests:
        _, name = request["path"].rsplit("/", 1)
        shape = model.operation_model(OPERATIONS[name]).input_shape
        given = loaded(json.loads(request["body"]) | {"modelId": "m"}, shape)
        report = ParamValidator().validate(given, shape)
        unknown = given.keys() - shape.members.keys()
        if report.has_errors() or unknown:
            refused.append([request["body"], report.generate_report(), sorted(unknown)])
    return refused


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[2]) if sys.argv[1] == "ask" else check(json.load(sys.stdin))))
