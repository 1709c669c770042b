"""The device lock between real processes."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from spnas.latency import DeviceLock, Measurement, Protocol, isolation, measure

LIMIT_S = 120
CPU = torch.device("cpu")
QUICK = Protocol(warmup_s=0.2, enough_s=0.5)
NAMES = ("first", "second")
# The module itself needs only the standard library; run from its file a child starts in milliseconds, without torch.
PRELUDE = f"""
import runpy, sys
from pathlib import Path
folder = Path(sys.argv[1])
lock = runpy.run_path({isolation.__file__!r})["DeviceLock"](folder)
def say(word):
    print(word, flush=True)
"""
HOLD = """
say("asking")
with lock.{way}():
    say("held")
    sys.stdin.readline()
"""
WRITER = """
import random
for _ in range(50):
    with lock.exclusive():
        number = str(random.random())
        (folder / "a").write_text(number)
        (folder / "b").write_text(number)
"""
READER = """
for _ in range(300):
    with lock.shared():
        if (folder / "a").read_text() != (folder / "b").read_text():
            sys.exit("read between two writes")
"""


class Child:
    """A process that runs a script and tells its steps, one word a line."""

    def __init__(self, script: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a buffered reader would take the next line too, and select would not see it
        )

    def hear(self, word: str) -> None:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], LIMIT_S)
        assert ready, f"{word!r} was not said within {LIMIT_S} s"
        assert self.process.stdout.readline().decode().strip() == word

    def says_soon(self) -> bool:
        return bool(select.select([self.process.stdout], [], [], 0.2)[0])

    def silent(self) -> bool:
        return not select.select([self.process.stdout], [], [], 0)[0]

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[[str], Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children: list[Child] = []

    def begin(script: str) -> Child:
        children.append(Child(script, tmp_path))
        return children[-1]

    yield begin
    for child in children:
        child.end()


def hold(start: Start, way: str) -> Child:
    child = start(HOLD.format(way=way))
    child.hear("asking")
    return child


def test_trainings_share(start: Start) -> None:
    first, second = hold(start, "shared"), hold(start, "shared")
    first.hear("held")
    second.hear("held")


@pytest.mark.parametrize(
    ("holder", "asker"),
    [("exclusive", "shared"), ("shared", "exclusive"), ("exclusive", "exclusive")],
)
@pytest.mark.parametrize("killed", [False, True])
def test_one_waits_for_the_other(start: Start, holder: str, asker: str, killed: bool) -> None:
    first = hold(start, holder)
    first.hear("held")
    second = hold(start, asker)
    assert second.silent()
    if killed:
        first.process.kill()
    else:
        first.release()
    second.hear("held")


def test_no_reader_sees_a_half_written_state(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    children = [start(WRITER), start(WRITER), start(READER), start(READER)]
    for child in children:
        _, errors = child.process.communicate(timeout=LIMIT_S)
        assert child.process.returncode == 0, errors.decode()


def test_trainings_in_turn_do_not_starve_a_measurement(start: Start) -> None:
    """Without a gate, trainings that hand the device on to each other would hold it for ever."""
    reader = hold(start, "shared")
    reader.hear("held")
    writer = hold(start, "exclusive")
    for _ in range(10):
        following = hold(start, "shared")
        if not following.says_soon():
            break
        following.hear("held")
        reader.release()
        reader = following
    else:
        pytest.fail("new trainings kept a measurement waiting")
    assert writer.silent()
    reader.release()
    writer.hear("held")
    assert following.silent()
    writer.release()
    following.hear("held")


def test_waiting_time_is_told(tmp_path: Path) -> None:
    lock = DeviceLock(tmp_path / "locks")
    with lock.shared() as waited:
        assert 0 <= waited < LIMIT_S
    with lock.exclusive() as waited:
        assert 0 <= waited < LIMIT_S


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    lock = DeviceLock(tmp_path)
    with pytest.raises(KeyError), lock.exclusive():
        raise KeyError
    with lock.shared():
        pass


def test_a_copy_from_a_pickle_is_the_same_lock(start: Start, tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(DeviceLock(tmp_path)))
    with copy.exclusive():
        child = hold(start, "shared")
        assert child.silent()
    child.hear("held")


TRAINING = """
import time
import torch
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3))
images = torch.rand(4, 3, 64, 64)
say("ready")
with open(folder / sys.argv[2], "w", buffering=1) as batches:
    while True:
        with lock.shared():
            begin = time.monotonic()
            model(images).square().mean().backward()
            batches.write(f"{begin} {time.monotonic()}\\n")
"""


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 32, 3))


def test_a_measurement_is_the_same_beside_trainings_which_wait_for_it(
    start: Start, tmp_path: Path
) -> None:
    lock = DeviceLock(tmp_path)
    times: list[float] = []

    @contextmanager
    def timed() -> Iterator[None]:
        with lock.exclusive():
            times.append(time.monotonic())
            yield
            times.append(time.monotonic())

    def measured() -> Measurement:
        torch.manual_seed(0)
        pair, image = (network(64), network(32)), torch.rand(1, 3, 64, 64)
        return measure(*pair, image, device=CPU, runtime="torch", protocol=QUICK, exclusive=timed)

    def batches(name: str) -> list[tuple[float, float]]:
        path = tmp_path / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [(float(begin), float(end)) for begin, end in map(str.split, lines)]

    def wait_for_a_batch_after(moment: float) -> None:
        patience = time.monotonic() + LIMIT_S
        while not all(any(end > moment for _, end in batches(name)) for name in NAMES):
            assert time.monotonic() < patience, f"no batch within {LIMIT_S} s"
            time.sleep(0.05)

    alone = measured()
    for name in NAMES:
        start(TRAINING.replace("sys.argv[2]", repr(name))).hear("ready")
    wait_for_a_batch_after(0.0)
    beside = measured()
    begin, end = times[-2:]
    wait_for_a_batch_after(end)
    for name in NAMES:
        assert any(batch[1] <= begin for batch in batches(name))
        assert not any(batch[0] < end and batch[1] > begin for batch in batches(name))
    # Tests that run beside this one, which no lock holds back, are worth some percent.
    slack = 0.05 if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1 else 0.0
    assert alone.ratio_low < beside.ratio_high * (1 + slack)
    assert beside.ratio_low < alone.ratio_high * (1 + slack)
