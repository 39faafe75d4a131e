"""Processes that begin with what is slow to load: as ``python -c``, without its seconds."""

# Streams live as long as their program: __exit__ closes them.
# ruff: noqa: SIM115
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager

# The server loads, and is forked for each program; the program is what follows the loop.
_SERVER = """
import atexit, json, os, socket, sys, threading
import {loaded}

orders = socket.socket(fileno=int(sys.argv[1]))
lines = orders.makefile("rw")
while True:
    there, handles, *_ = socket.recv_fds(orders, 1, 3)
    if not there:
        sys.exit()
    order = json.loads(lines.readline())
    if isinstance(order, int):
        answer = os.waitstatus_to_exitcode(os.waitpid(order, 0)[1])
    elif not (answer := os.fork()):
        break
    for handle in handles:
        os.close(handle)
    print(answer, file=lines, flush=True)
lines.close(), orders.close()
for number, handle in enumerate(handles):
    os.dup2(handle, number)
    os.close(handle)
code, sys.argv[1:], cwd, environment = order
os.chdir(cwd)
os.environ.update(environment)
status = 1
try:
    exec(code, {{"__name__": "__main__"}})
    status = 0
except SystemExit as end:
    status = end.code if isinstance(end.code, int) else int(end.code is not None)
    if not isinstance(end.code, int | None):
        print(end.code, file=sys.stderr)
except BaseException:
    sys.excepthook(*sys.exc_info())
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush(), sys.stderr.flush()
os._exit(status)  # to take apart what was loaded takes longer than most programs
"""


class Fresh:
    """Starts programs that find some modules loaded, and nothing of this process."""

    def __init__(self, *loaded):
        self._orders, theirs = socket.socketpair()
        self._answers = self._orders.makefile("r")
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER.format(loaded=", ".join(loaded)),
                 str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": "1"},  # a process with threads is not forked
            )  # fmt: skip

    def ask(self, order, handles=()):
        """Answer of the server: the process of a program that starts, or the status of one."""
        socket.send_fds(self._orders, [b" "], handles)
        self._orders.sendall(json.dumps(order).encode() + b"\n")
        return int(self._answers.readline())

    def start(self, code, *arguments, cwd=".", **environment):
        """A program that runs, with ``stdin`` and ``stdout``."""
        return Program(self, [code, [*map(str, arguments)], os.path.abspath(cwd), environment])

    def run(self, code, *arguments, cwd="."):
        """As ``subprocess.run`` of ``python -c``, with what it prints."""
        with self.start(code, *arguments, cwd=cwd) as program:
            out, err = program.communicate()
        return subprocess.CompletedProcess(["-c", code], program.returncode, out, err)

    def together(self, code, *arguments):
        """What two of them print, by rank, and all errors."""
        with self.pair(code, *arguments) as programs:
            told = [program.communicate() for program in programs]
        assert not any(program.returncode for program in programs), told
        return *(out for out, _ in told), "".join(err for _, err in told)

    @contextmanager
    def pair(self, code, *arguments):
        """Two programs that run, by rank; each is told what torchrun tells.

        They meet where torchrun lets them: in a store of the process that started them.
        """
        from torch.distributed import TCPStore

        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        place |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": "2"}
        with ExitStack() as started:
            yield [
                started.enter_context(
                    self.start(code, *arguments, RANK=rank, LOCAL_RANK=rank, **place)
                )
                for rank in "01"
            ]

    def close(self):
        """End the server."""
        self._answers.close()
        self._orders.close()
        self._server.wait()


class Program:
    """What of ``subprocess.Popen`` tests ask for."""

    returncode = None

    def __init__(self, fresh, order):
        # Errors go to a file: nobody reads them until it ends, and a pipe holds 64 kB.
        self._fresh, self._errors = fresh, tempfile.TemporaryFile("w+")
        (read, stdin), (stdout, out) = os.pipe(), os.pipe()
        self.pid = fresh.ask(order, [read, out, self._errors.fileno()])
        os.close(read)
        os.close(out)
        self.stdin, self.stdout = open(stdin, "w"), open(stdout)

    def communicate(self):
        """Output and errors, once it has ended."""
        patience = threading.Timer(600, self.kill)
        patience.daemon = True
        patience.start()
        out = self.stdout.read()
        self.wait()
        patience.cancel()
        self._errors.seek(0)
        return out, self._errors.read()

    def kill(self):
        """End it at once."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        """Its exit status, or minus the signal that ended it."""
        if self.returncode is None:
            self.returncode = self._fresh.ask(self.pid)
        return self.returncode

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.kill()
        self.stdin.close()
        self.stdout.close()
        self.wait()
        self._errors.close()
