"""The tokenizer: long and short texts, runs of one letter, the first use, two threads; tiktoken beside it.

Run `pytest benches/bench_tokenizer.py --benchmark-only`, or as a program for a table of ratios: it takes the best of
several turns of the thread's own processor time, so that other work on the machine weighs less.
"""

from __future__ import annotations

import os
import pathlib
import random
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from edgequake_llm import Tokenizer
from oracle.tiktoken_encodings import encoding, fill_cache

NAMES = ("o200k_base", "cl100k_base")
LANGUAGES = [
    "",
    "Sie packte ihre sieben Versalien, schob sich ihr Initial in den Gürtel und machte sich auf den Weg über die Berge.",
    "Les étoiles brillaient au-dessus de la ville endormie, et personne n'entendait le bruit lointain des vagues.",
    "El viejo pescador salía cada mañana al mar con la esperanza de volver antes de que anocheciera.",
    "Над городом медленно поднималось солнце, и первые трамваи уже везли сонных людей на работу.",
    "Το πρωί η αγορά γέμιζε φωνές, μυρωδιές και χρώματα από όλα τα μέρη του νησιού.",
    "בבוקר יצאנו לדרך אל ההרים, והשמש עוד לא עלתה מעל העמק הרחב.",
    "كانت المدينة القديمة تستيقظ ببطء بينما يفتح التجار أبواب دكاكينهم الصغيرة.",
    "सुबह की ठंडी हवा में गाँव के बच्चे स्कूल की ओर हँसते हुए जा रहे थे।",
    "早上的市场里挤满了人，新鲜的蔬菜和水果摆满了街道两旁的摊位，孩子们在人群中奔跑。",
    "朝の市場には新鮮な野菜や魚が並び、近所の人々が楽しそうに話しながら買い物をしていました。",
    "아침 시장에는 신선한 채소와 과일이 가득했고 사람들은 즐겁게 이야기를 나누었습니다.",
    "ตลาดเช้าเต็มไปด้วยผักผลไม้สดและผู้คนที่มาเลือกซื้อของกันอย่างสนุกสนาน",
    "",
][1:-1]


def mixed(size: int = 5_000_000) -> str:
    """Python's standard library, a third of it as prose (its docstrings and comments come as they are), and languages."""
    chance = random.Random(1)
    sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    chance.shuffle(sources)
    code = "".join(source.read_text("utf-8", "replace") for source in sources)
    words = [line.split(" ") for line in LANGUAGES]
    lines, bytes_wanted = [], size // 3
    while bytes_wanted > 0:
        line = " ".join(chance.choices(chance.choice(words), k=12))
        lines.append(line)
        bytes_wanted -= len(line.encode()) + 1
    code = code[: size - size // 3]
    return code + "\n".join(lines)


TEXT = mixed()
SHORT = [TEXT[at : at + 200] for at in range(0, len(TEXT) - 200, len(TEXT) // 2000)]


@pytest.mark.parametrize("name", NAMES)
def bench_count_mixed(benchmark, name):
    tokenizer = Tokenizer.for_encoding(name)
    assert benchmark(tokenizer.count_tokens, TEXT[:1_000_000]) > 0


@pytest.mark.parametrize("name", NAMES)
def bench_count_short(benchmark, name):
    tokenizer = Tokenizer.for_encoding(name)
    assert benchmark(lambda: sum(map(tokenizer.count_tokens, SHORT))) > 0


def bench_count_one_letter(benchmark):
    tokenizer = Tokenizer.for_encoding("o200k_base")
    assert benchmark(tokenizer.count_tokens, "a" * 1_000_000) == 125_000


def bench_encode(benchmark):
    tokenizer = Tokenizer.for_encoding("o200k_base")
    assert benchmark(lambda: tokenizer.encode(TEXT[:1_000_000], disallowed_special=()))


def bench_split(benchmark):
    tokenizer = Tokenizer.for_encoding("o200k_base")
    assert benchmark(tokenizer.split, TEXT[:1_000_000], 500, 50)


def best(work, turns: int = 7) -> float:
    """The least processor time of this thread that a turn took, in seconds."""
    times = []
    for _ in range(turns):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


FIRST = """
import sys, time
sys.path[:0] = {path!r}
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
"""
OURS = """
from edgequake_llm import Tokenizer
before, start = resident(), time.thread_time()
Tokenizer.for_encoding("o200k_base").count_tokens("hello")
print((time.thread_time() - start) * 1000, (resident() - before) / 2**20)
"""
THEIRS = """
import tiktoken
before, start = resident(), time.thread_time()
tiktoken.get_encoding("o200k_base").encode("hello")
print((time.thread_time() - start) * 1000, (resident() - before) / 2**20)
"""


def first(code: str, folder: str) -> tuple[float, float]:
    """Milliseconds and MiB that the first use takes, the best of five processes; `folder` has tiktoken's download."""
    program, environment = FIRST.format(path=sys.path) + code, {**os.environ, "TIKTOKEN_CACHE_DIR": folder}
    command = [sys.executable, "-c", program]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(5)]
    figures = [tuple(map(float, run.stdout.split())) for run in runs]
    return min(ms for ms, _ in figures), min(mib for _, mib in figures)


def compare(name: str) -> None:
    """Print how fast we and tiktoken count and encode."""
    ours, theirs = Tokenizer.for_encoding(name), encoding(name)
    assert ours.count_tokens(TEXT) == len(theirs.encode_ordinary(TEXT))
    long, short = len(TEXT.encode()) / 1e6, sum(len(text.encode()) for text in SHORT) / 1e6

    def row(what, megabytes, our, their):
        a, b = best(our), best(their)
        print(f"{name:12} {what:20} {megabytes / a:7.1f} MB/s   tiktoken {megabytes / b:6.1f} MB/s   {b / a:4.1f} x")

    row(f"count {long:.1f} MB", long, lambda: ours.count_tokens(TEXT), lambda: theirs.encode_ordinary(TEXT))
    row(
        "count 200 characters",
        short,
        lambda: [ours.count_tokens(text) for text in SHORT],
        lambda: [theirs.encode_ordinary(text) for text in SHORT],
    )
    row(
        f"encode {long:.1f} MB",
        long,
        lambda: ours.encode(TEXT, disallowed_special=()),
        lambda: theirs.encode_ordinary(TEXT),
    )


def main() -> None:
    for name in NAMES:
        compare(name)
    tokenizer = Tokenizer.for_encoding("o200k_base")
    code = TEXT[:1_000_000]
    run = best(lambda: tokenizer.count_tokens("a" * 1_000_000))
    print(f"a megabyte of one letter / of code: {run / best(lambda: tokenizer.count_tokens(code)):.2f}")
    start = time.perf_counter()
    tokenizer.count_tokens(TEXT * 4)
    one = time.perf_counter() - start
    threads = [threading.Thread(target=tokenizer.count_tokens, args=(TEXT * 4,)) for _ in range(2)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"two threads, each as much as one: {(time.perf_counter() - start) / one:.2f} times the wall time of one")
    with tempfile.TemporaryDirectory() as folder:
        fill_cache(pathlib.Path(folder), "o200k_base")
        for who, program in (("edgequake", OURS), ("tiktoken, its file there", THEIRS)):
            print("first use, {}: {:.1f} ms, {:.1f} MiB".format(who, *first(program, folder)))


if __name__ == "__main__":
    main()
