"""The bridge to asyncio: loops of any kind and number, forks, signals, and the interpreter's end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import sys
import threading
import weakref

import pytest
import uvloop

from edgequake_llm import OpenAIProvider, RateLimiter, RateLimiterConfig, Simulator
from support.processes import finish, run, script
from support.raw import CLOSE, RawServer, head, openai_delta, sse
from support.waiting import aeventually, eventually

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def new_loop(request):
    return LOOPS[request.param]


@pytest.fixture
def server():
    """A simulator for other processes: slow at will by the header `x-simulator`."""
    with Simulator(record=True) as simulator:
        yield simulator


def run_in(loop, coroutine):
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def one_of_each(llm):
    """A call and a stream; return both texts."""
    whole = await llm.complete("hi")
    streamed = "".join([text async for text in llm.stream("hi")])
    return whole.content, streamed


def open_files():
    return len(os.listdir("/proc/self/fd"))


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")


def test_every_kind_of_loop(new_loop, llm):
    whole, streamed = run_in(new_loop(), one_of_each(llm))
    assert whole == streamed != ""


@needs_proc
def test_loops_one_after_another(new_loop, sim):
    llm = sim.provider()
    run_in(new_loop(), one_of_each(llm))
    before = open_files()
    for _ in range(50):
        whole, streamed = run_in(new_loop(), one_of_each(llm))
        assert whole == streamed
    gc.collect()
    assert open_files() <= before + 1
    assert sim.stats().connections <= 2, "connections outlive loops"


def test_asyncio_run_again_and_again(llm):
    assert {asyncio.run(one_of_each(llm)) for _ in range(5)} == {asyncio.run(one_of_each(llm))}


def test_loops_in_threads_at_once(new_loop, sim):
    llm = sim.provider()
    results, start = [], threading.Barrier(8)

    def work():
        async def calls():
            return await asyncio.gather(*(one_of_each(llm) for _ in range(10)))

        start.wait()
        results.extend(run_in(new_loop(), calls()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert {whole for whole, _ in results} == {streamed for _, streamed in results}


async def test_a_stream_that_failed_is_freed(sim):
    # The error's traceback leads to this frame, which holds the stream, which keeps the error.
    llm, gone = sim.provider(retry=0), []

    async def fail():
        sim.push(fault="cut", after_events=3)
        stream = llm.stream("hi")
        gone.append(weakref.ref(stream))
        try:
            async for _ in stream:
                pass
        except ConnectionError as error:
            kept = error
        return kept.partial.content

    def fail_in_sync():
        sim.push(fault="cut", after_events=3)
        stream = llm.sync.stream("hi")
        gone.append(weakref.ref(stream))
        try:
            list(stream)
        except ConnectionError as error:
            kept = error
        return kept.partial.content

    for _ in range(3):
        assert await fail() == fail_in_sync()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 6


def test_a_loop_dropped_without_being_closed_takes_its_calls_back():
    # `asyncio` alone: uvloop's loops are kept by what they have registered with the system.
    with Simulator(ttft=60) as sim, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda _: None)  # asyncio's own complaint about the loop
        loop = asyncio.new_event_loop()
        task = loop.create_task(sim.provider().complete("hi"))
        while sim.stats().in_flight < 1:
            loop.run_until_complete(asyncio.sleep(0.005))
        task._log_destroy_pending = False
        del task, loop
        gc.collect()
        eventually(lambda: (sim.stats().aborted, sim.stats().in_flight) == (1, 0))


@needs_proc
def test_threads_that_come_and_go_leave_nothing(sim, new_loop):
    llm = sim.provider()

    def work():
        run_in(new_loop(), one_of_each(llm))

    def once():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    once()
    gc.collect()
    before = open_files(), threading.active_count()
    for _ in range(30):
        once()
    gc.collect()
    assert (open_files(), threading.active_count()) <= (before[0] + 2, before[1])


def test_two_loops_taking_turns_in_one_thread(sim):
    llm = sim.provider()
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        for _ in range(3):
            for loop in (first, second):
                whole, streamed = loop.run_until_complete(one_of_each(llm))
                assert whole == streamed
    finally:
        first.close()
        second.close()


def test_a_stream_begun_in_one_loop_is_read_to_its_end_in_another(sim):
    sim.push(tokens=2000)

    async def begin():
        stream = sim.provider().stream("hi")
        return stream, [await anext(stream)]

    async def go_on(stream, texts):
        texts += [text async for text in stream]
        return "".join(texts) == stream.response.content

    stream, texts = run_in(asyncio.new_event_loop(), begin())
    assert run_in(asyncio.new_event_loop(), go_on(stream, texts))


def test_a_loop_closed_with_calls_in_flight(new_loop):
    with Simulator(ttft=60) as sim:
        llm = sim.provider()
        loop = new_loop()
        tasks = [loop.create_task(llm.complete("hi")) for _ in range(5)]
        while sim.stats().in_flight < 5:
            loop.run_until_complete(asyncio.sleep(0.005))
        loop.close()
        for task in tasks:
            task._log_destroy_pending = False
        # What asyncio says about tasks that were never finished is its own; here it is only about the requests.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda _: None)
            del tasks, task
            gc.collect()
        eventually(lambda: (sim.stats().aborted, sim.stats().in_flight) == (5, 0))
        sim.push(ttft=0)
        assert asyncio.run(llm.complete("hi")).content


def test_answers_that_come_after_their_loop_was_closed_harm_nobody(new_loop):
    with Simulator() as sim:
        llm = sim.provider()
        loop = new_loop()
        sim.push(delay=0.3)
        task = loop.create_task(llm.complete("hi"))
        while sim.stats().in_flight < 1:
            loop.run_until_complete(asyncio.sleep(0.005))
        loop.close()
        eventually(lambda: sim.stats().completed == 1)
        assert asyncio.run(llm.complete("hi")).content
        assert not task.done()
        task._log_destroy_pending = False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda _: None)
            del task
            gc.collect()


def test_an_answer_for_a_closed_loop_is_no_sigpipe(server):
    """Programs that end quietly in a pipe set SIGPIPE to its default, which kills."""
    out = run(
        """
        import asyncio, signal, sys, time
        from edgequake_llm import OpenAIProvider
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        llm = OpenAIProvider("key", base_url=sys.argv[1], headers={"x-simulator": "delay_ms=300"})
        loop = asyncio.new_event_loop()
        task = loop.create_task(llm.complete("hi"))
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
        task._log_destroy_pending = False
        # Made later and answered later, so the first answer has come by then.
        print(llm.sync.complete("hi").content != "")
        """,
        server.base_url("openai"),
    )
    assert out == "True\n"


async def test_several_tasks_reading_one_stream_get_each_piece_once(sim):
    sim.push(tokens=500)
    stream = sim.provider().stream("hi")
    await stream
    pieces, refused = [], []

    async def read():
        try:
            async for text in stream:
                pieces.append(text)
                await asyncio.sleep(0)
        except RuntimeError as error:
            refused.append(str(error))

    await asyncio.gather(*(read() for _ in range(4)))
    assert "".join(pieces) == stream.response.content
    assert all("another task is reading" in text for text in refused)


async def test_a_second_reader_of_a_silent_stream_is_told(sim):
    sim.push(ttft=60)
    stream = sim.provider().stream("hi")

    began = asyncio.Event()

    async def read():
        began.set()
        return [text async for text in stream]

    first = asyncio.create_task(read())
    await began.wait()
    with pytest.raises(RuntimeError, match="another task is reading this stream already"):
        await anext(stream)
    await stream.aclose()
    assert await first == []


async def test_context_variables_stay_with_their_task(sim):
    variable = contextvars.ContextVar("variable")
    llm = sim.provider()

    async def call(value):
        variable.set(value)
        await llm.complete("hi")
        seen = [variable.get()]
        async for _ in llm.stream("hi"):
            seen.append(variable.get())
        return set(seen) == {value}

    assert all(await asyncio.gather(*(call(value) for value in range(20))))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks(llm):
    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        return await asyncio.gather(*(one_of_each(llm) for _ in range(10)))

    assert len(set(asyncio.run(main()))) == 1


def test_tasks_that_are_written_in_python(server):
    """Other tasks than asyncio's own find what they need of a future."""

    def make(loop, coroutine, **options):
        return asyncio.tasks._PyTask(coroutine, loop=loop, **options)

    async def main():
        asyncio.get_running_loop().set_task_factory(make)
        texts = await asyncio.gather(*(one_of_each(server.provider()) for _ in range(10)))
        reasons = []

        async def slow():
            try:
                await server.provider().complete("hi", extra_headers={"x-simulator": "ttft_ms=60000"})
            except asyncio.CancelledError as error:
                reasons.extend(error.args)

        task = asyncio.create_task(slow())
        await aeventually(lambda: len(server.requests()) == 21)
        task.cancel("because")
        await task
        assert reasons == ["because"]
        await aeventually(lambda: server.stats().aborted == 1)
        return texts

    assert len(set(asyncio.run(main()))) == 1


def test_what_ends_the_loop_leaves_the_others_waiting(new_loop):
    """Woken in one turn of the loop with a task that exits, the others go on when the loop runs again."""
    one = RateLimiter(RateLimiterConfig(max_concurrent=4))
    loop = new_loop()
    entered = []

    async def enter(n):
        async with one.acquire():
            if n == 1:
                raise SystemExit(7)
            entered.append(n)

    async def main():
        holders = [await one.acquire() for _ in range(4)]
        tasks = [asyncio.create_task(enter(n)) for n in range(4)]
        while one.status.waiting < 4:
            await asyncio.sleep(0)
        for holder in holders:
            holder.release()
        await asyncio.wait(tasks)

    task = loop.create_task(main())
    with pytest.raises(SystemExit):
        loop.run_until_complete(task)
    assert entered[0] == 0
    run_in(loop, task)
    assert entered == [0, 2, 3]


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_pieces_come_as_they_are_sent(mode, new_loop):
    """The server sends a piece only when the one before has been read: whoever buffers waits for good."""
    gates = [threading.Event() for _ in range(5)]
    steps = [step for n, gate in enumerate(gates) for step in (sse(openai_delta(str(n))), gate)]
    with RawServer([head(connection="close"), *steps, sse(openai_delta(None, "stop"), "[DONE]"), CLOSE]) as server:
        llm = OpenAIProvider("key", base_url=server.url)

        async def read():
            async for text in llm.stream("hi"):
                gates[int(text)].set()

        if mode == "async":
            run_in(new_loop(), read())
        else:
            for text in llm.sync.stream("hi"):
                gates[int(text)].set()
    assert all(gate.is_set() for gate in gates)


async def test_a_burst_wakes_everyone(sim, own_pool):
    llm = sim.provider(http=own_pool("http2"))
    responses = await asyncio.gather(*(llm.complete(str(n)) for n in range(300)))
    assert len(responses) == 300


def test_a_loop_that_cannot_watch_sockets_says_so(sim):
    class Deaf(asyncio.SelectorEventLoop):
        def add_reader(self, *args):
            raise NotImplementedError

    with pytest.raises(RuntimeError, match="add_reader"):
        run_in(Deaf(), sim.provider().complete("hi"))


def test_an_awaitable_outside_a_loop_says_so(sim):
    with pytest.raises(RuntimeError, match="no running event loop"):
        sim.provider().complete("hi").send(None)


# Forks. Each in a process of its own: pytest's has threads that a fork would tear.

FORK = """
    import asyncio, os, sys, threading, warnings
    warnings.simplefilter("ignore")  # of forking with threads there, which is the point
    from edgequake_llm import HTTPConfig, OpenAIProvider, ClosedError

    url, mode, protocol = sys.argv[1:]
    def new():
        return OpenAIProvider("key", base_url=url, http=HTTPConfig(protocol=protocol))

    def use(llm):
        if mode == "sync":
            return llm.sync.complete("hi").content + "".join(llm.sync.stream("hi"))
        async def both():
            whole = await llm.complete("hi")
            return whole.content + "".join([text async for text in llm.stream("hi")])
        return asyncio.run(both())

    def fork(child):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            child()
            sys.exit(0)  # the interpreter's whole end, not os._exit: that must work too
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
"""


@pytest.fixture(params=["sync", "async"])
def mode(request):
    return request.param


@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_fork_with_a_new_and_an_inherited_client(server, mode, protocol):
    out = run(
        FORK
        + """
    llm = new()
    text = use(llm)
    def child():
        assert use(llm) == text        # inherited
        assert use(new()) == text      # new
        print("child")
    for _ in range(3):
        fork(child)
        assert use(llm) == text        # and the parent goes on, over its own connection
    def grandchild():
        assert use(llm) == text
        fork(child)
    fork(grandchild)
    print("parent")
    """,
        server.base_url("openai"),
        mode,
        protocol,
    )
    assert out == "child\n" * 4 + "parent\n"
    # No connection was used by two processes: the parent's, and one for each child and grandchild. Over HTTP/1.1 a
    # call right after a stream may find its connection still on the way back to the pool.
    users = server.stats().connections
    assert users == 6 if protocol == "http2" else 6 <= users <= 12
    assert (server.stats().completed, server.stats().aborted) == (server.stats().requests, 0)


def test_fork_before_the_first_call(server, mode):
    out = run(
        FORK
        + """
    llm = new()
    fork(lambda: print(use(llm) != ""))
    print(use(llm) != "")
    """,
        server.base_url("openai"),
        mode,
        "auto",
    )
    assert out == "True\nTrue\n"


def test_fork_with_calls_in_flight(server):
    """What was begun before the fork belongs to the parent; the child is told, and the parent's call goes on."""
    out = run(
        FORK
        + """
    llm = new()
    slow = OpenAIProvider("key", base_url=url, headers={"x-simulator": "tokens=40;gap_ms=20"})
    stream, other = slow.sync.stream("hi"), slow.sync.stream("hi")
    text = next(stream)
    def child():
        for use_it in (lambda: list(stream), lambda: next(other)):
            try:
                print(use_it())
            except ClosedError as error:
                print("before the process forked" in str(error))
        stream.close()
        print(use(llm) != "")
    fork(child)
    text += "".join(stream)
    print(text == stream.response.content, "".join(other) == text)
    """,
        server.base_url("openai"),
        "sync",
        "auto",
    )
    assert out == "True\nTrue\nTrue\nTrue True\n"
    assert server.stats().aborted == 0


def test_a_child_that_closes_an_inherited_client(server, mode):
    out = run(
        FORK
        + """
    llm = new()
    use(llm)
    def child():
        asyncio.run(llm.aclose())
        try:
            use(llm)
        except ClosedError:
            print("closed")
    fork(child)
    print(use(llm) != "")
    """,
        server.base_url("openai"),
        mode,
        "auto",
    )
    assert out == "closed\nTrue\n"


def test_forks_while_other_threads_are_calling(server):
    out = run(
        FORK
        + """
    llm, stop = new(), threading.Event()
    def work():
        while not stop.is_set():
            llm.sync.complete("hi")
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads: thread.start()
    for _ in range(15):
        def child():
            use(llm)
            asyncio.run(llm.aclose())
        fork(child)
    stop.set()
    for thread in threads: thread.join()
    print("done")
    """,
        server.base_url("openai"),
        "sync",
        "http2",
    )
    assert out == "done\n"


def test_multiprocessing_by_fork_with_an_inherited_client(server):
    out = run(
        """
        import multiprocessing, sys, warnings
        warnings.simplefilter("ignore")
        from edgequake_llm import OpenAIProvider
        llm = OpenAIProvider("key", base_url=sys.argv[1])
        def work(n):
            return llm.sync.complete(str(n)).content != ""
        assert work(0)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(all(pool.map(work, range(20))))
        """,
        server.base_url("openai"),
    )
    assert out == "True\n"


def test_a_simulator_and_a_child_that_ends(server):
    out = run(
        FORK
        + """
    from edgequake_llm import Simulator
    sim = Simulator()
    llm = sim.provider()
    llm.sync.complete("hi")
    fork(lambda: print(llm.sync.complete("hi").content != ""))
    print(llm.sync.complete("hi").content != "")
    """,
        server.base_url("openai"),
        "sync",
        "auto",
    )
    assert out == "True\nTrue\n"


# Signals.

SLOW = """
    import asyncio, sys, threading, time
    from edgequake_llm import OpenAIProvider
    llm = OpenAIProvider("key", base_url=sys.argv[1], headers={"x-simulator": "tokens=100000;gap_ms=50"})
"""


@pytest.mark.parametrize(
    "call",
    [
        "llm.sync.complete('hi')",
        "llm.sync.embed(['hi'])",
        "list(llm.sync.stream('hi'))",
        "list(llm.sync.stream('hi').events())",
        "asyncio.run(llm.complete('hi'))",
    ],
)
def test_ctrl_c_interrupts_a_call(server, call):
    server.push(path="/embeddings", delay=60)
    process = script(
        SLOW
        + f"""
    try:
        {call}
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sys.stdin.read()
    """,
        server.base_url("openai"),
    )
    eventually(lambda: server.stats().in_flight == 1)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    # The process still runs: it is the interrupt that took the request back, not the process's end.
    eventually(lambda: (server.stats().aborted, server.stats().in_flight) == (1, 0))
    assert process.poll() is None
    finish(process)


def test_a_signal_handler_runs_while_a_sync_call_waits(server):
    process = script(
        SLOW
        + """
    import signal
    signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
    text = llm.sync.complete("hi", extra_headers={"x-simulator": "delay_ms=1500"}).content
    print(text != "")
    """,
        server.base_url("openai"),
    )
    eventually(lambda: server.stats().in_flight == 1)
    process.send_signal(signal.SIGUSR1)
    assert finish(process) == "handled\nTrue\n"


# The interpreter's end, with calls in flight. No hang, no crash, nothing on stderr.


def quiet_end(server, code, **expected):
    process = script(SLOW + code, server.base_url("openai"))
    out = finish(process, **expected)
    eventually(lambda: server.stats().in_flight == 0)
    return out


def test_the_end_with_sync_streams_open(server):
    out = quiet_end(
        server,
        """
    streams = [llm.sync.stream("hi") for _ in range(20)]
    print(all(next(stream) for stream in streams))
    """,
    )
    assert out == "True\n"
    assert server.stats().aborted == 20


def test_the_end_with_async_streams_open(server):
    out = quiet_end(
        server,
        """
    async def main():
        streams = [llm.stream("hi") for _ in range(20)]
        for stream in streams:
            await anext(stream)
        return streams
    streams = asyncio.run(main())
    print(len(streams))
    """,
    )
    assert out == "20\n"


def test_the_end_with_tasks_in_flight(server):
    # asyncio.run cancels what is left.
    out = quiet_end(
        server,
        """
    async def main():
        tasks = [asyncio.create_task(llm.complete("hi")) for _ in range(20)]
        await asyncio.sleep(0.2)
        print("leaving")
    asyncio.run(main())
    """,
    )
    assert out == "leaving\n"


@pytest.mark.parametrize(
    "call", ["llm.sync.complete('hi')", "list(llm.sync.stream('hi'))", "asyncio.run(llm.complete('hi'))"]
)
def test_the_end_with_daemon_threads_in_calls(server, call):
    # `Late` keeps the interpreter's end going for a while, in which the threads want the interpreter back.
    out = quiet_end(
        server,
        f"""
    class Late:
        def __del__(self, sleep=time.sleep):
            sleep(0.5)
    late = Late()
    sys.late = late
    for _ in range(4):
        threading.Thread(target=lambda: {call}, daemon=True).start()
    time.sleep(0.5)
    print("leaving")
    """,
    )
    assert out == "leaving\n"


def test_answers_that_come_while_the_interpreter_ends(server):
    out = quiet_end(
        server,
        """
    class Late:
        def __del__(self, sleep=time.sleep):
            sleep(0.6)
    sys.late = Late()
    fast = OpenAIProvider("key", base_url=sys.argv[1], headers={"x-simulator": "delay_ms=500"})
    for _ in range(4):
        threading.Thread(target=lambda: fast.sync.complete("hi"), daemon=True).start()
    time.sleep(0.2)
    print("leaving")
    """,
    )
    assert out == "leaving\n"


def test_the_end_by_an_exception_and_by_sys_exit(server):
    out = quiet_end(
        server,
        """
    stream = llm.sync.stream("hi")
    next(stream)
    sys.exit(3)
    """,
        returncode=3,
    )
    assert out == ""


def test_the_end_with_a_simulator_running():
    out = run(
        """
        from edgequake_llm import Simulator
        sim = Simulator(ttft=60)
        stream = sim.provider().sync.stream("hi")
        print("leaving")
        """
    )
    assert out == "leaving\n"


def test_a_call_from_an_atexit_handler(server):
    out = run(
        """
        import atexit, sys
        from edgequake_llm import OpenAIProvider
        llm = OpenAIProvider("key", base_url=sys.argv[1])
        atexit.register(lambda: print(llm.sync.complete("bye").content != ""))
        """,
        server.base_url("openai"),
    )
    assert out == "True\n"


def test_import_starts_no_thread_and_opens_nothing():
    out = run(
        """
        import os, threading
        before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        import edgequake_llm
        llm = edgequake_llm.OpenAIProvider("key")
        print((len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before)
        """
    )
    assert out == "True\n"
