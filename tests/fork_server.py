"""A server whose forks are `clipcli` commands: processes of their own that need not import torch first.

What a test starts in the place of `python -m clipcli` is a client, which Python starts in 20 ms. It hands
the server its arguments, environment, folder, streams, limits and ignored signals, waits for the command, and
ends as the command has ended. If the client is killed, so is the command.

The server has imported some modules, and has done nothing else: no thread runs, and nothing was computed.
What they and the interpreter read from the environment while they start cannot be changed afterwards; a
command whose environment differs there is refused. It needs `python -m clipcli`, as does one that is about
its start.

    python fork_server.py serve DESCRIPTOR MODULE...      until its standard input ends
    python fork_server.py run SOCKET PID_TO ARGUMENTS...  PID_TO: a descriptor for the command's id, or "-"
"""

# Importing pathlib takes longer than all that a client does.
# ruff: noqa: PTH109, PTH208

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import IO, Any, NoReturn

_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Not KMP_ and TORCHINDUCTOR_: libraries set such variables when they are imported, in pytest's process too.
_READ_BY_ALL = ("PYTHON", "LC_", "LANG", "OMP_", "GOMP_", "MKL_", "TORCH_", "PYTORCH_", "CUDA_")
_SET_LATER = "PYTHONDONTWRITEBYTECODE"
_READ_BY_OPEN_CLIP = ("HF_", "HUGGING", "TRANSFORMERS_", "XDG_", "HOME")  # and what it imports


# --- The client ----------------------------------------------------------------------------------


def run(path: str, pid_to: str, arguments: list[str]) -> NoReturn:
    """Have the server run a command, and end as it ends."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    are_open = [stream is not None for stream in streams]  # said by Python, whose own files come later
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": _umask(),
        "are_open": are_open,
        "limits": [resource.getrlimit(limit) for limit in _LIMITS],
        "ignored": [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN],
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b"."], [number for number in range(3) if are_open[number]])
        with server.makefile("rw") as lines:
            _send(lines, request)
            answer = json.loads(lines.readline())
            if "refused" in answer:
                sys.exit(f"a command that is forked cannot have its own {answer['refused']}")
            if pid_to != "-":
                os.write(int(pid_to), str(answer["command"]).encode())
                os.close(int(pid_to))
            _end(json.loads(lines.readline())["status"])


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _send(lines: IO[str], message: dict[str, Any]) -> None:
    lines.write(f"{json.dumps(message)}\n")
    lines.flush()


def _end(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    os._exit(1)


# --- The server ----------------------------------------------------------------------------------


def serve(descriptor: int, modules: list[str]) -> None:
    """Fork a command for each client. Returns in the commands' processes, and only there."""
    listener = socket.socket(fileno=descriptor)
    _import(modules)
    fixed = _READ_BY_ALL + (_READ_BY_OPEN_CLIP if "open_clip" in modules else ())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the monitors
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            os._exit(0)
        client, _ = listener.accept()
        assert len(os.listdir("/proc/self/task")) == 1, "a fork has no other threads, whatever they held"
        if os.fork() == 0:
            listener.close()
            _monitor(client, fixed)
            return
        client.close()


def _import(modules: list[str]) -> None:
    import gc
    import importlib

    from clipcli.cli import startup

    if "open_clip" in modules:
        startup.prepare()  # so that it is imported as the command does
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads
    for module in modules:
        importlib.import_module(module)
    del os.environ["OPENBLAS_NUM_THREADS"]
    gc.freeze()


def _monitor(client: socket.socket, fixed: tuple[str, ...]) -> None:
    """Fork the command, and tell the client how it ends. Returns in the command's process, and only there."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    with client, client.makefile("rw") as lines:
        request = json.loads(lines.readline())
        if refused := _differing(request["environment"], fixed):
            _send(lines, {"refused": ", ".join(refused)})
            os._exit(0)
        command = os.fork()
        if command:
            for stream in streams:
                os.close(stream)
            _send(lines, {"command": command})
            _send(lines, {"status": _wait(command, client)})
            os._exit(0)
    _become(request, streams)


def _differing(environment: dict[str, str], fixed: tuple[str, ...]) -> list[str]:
    read = {name for name in {*environment, *os.environ} if name.startswith(fixed)} - {_SET_LATER}
    return sorted(name for name in read if environment.get(name) != os.environ.get(name))


def _wait(command: int, client: socket.socket) -> int:
    ended = os.pidfd_open(command)
    ready, _, _ = select.select([ended, client], [], [])
    if client in ready:  # it has nothing to say: it was killed
        os.kill(command, signal.SIGKILL)
        os._exit(0)
    return os.waitpid(command, 0)[1]


# --- The command ---------------------------------------------------------------------------------


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Have everything as the client has it."""
    import logging

    for number, is_open in enumerate(request["are_open"]):
        if is_open:
            os.dup2(streams[0], number)
            os.close(streams.pop(0))
        else:
            os.close(number)
    sys.stdin, sys.stdout, sys.stderr = _as_python_has_them(request["are_open"])
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)
    logging.disable(logging.NOTSET)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["clipcli", *request["arguments"]]
    sys.dont_write_bytecode = bool(os.environ.get(_SET_LATER))
    for number in _SIGNALS:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    for limit, values in zip(_LIMITS, request["limits"], strict=True):
        resource.setrlimit(limit, values)
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        sys.dont_write_bytecode = True  # it would leave half of it for the commands that follow


def _as_python_has_them(are_open: list[bool]) -> list[Any]:
    """Files for the standard streams; None for those that are closed."""
    encoding, errors = sys.stdin.encoding, sys.stdin.errors
    kinds = (("r", errors), ("w", errors), ("w", "backslashreplace"))
    streams: list[Any] = [None, None, None]
    for number, (mode, its_errors) in enumerate(kinds):
        if are_open[number]:
            buffering = 1 if number == 2 or os.isatty(number) else -1
            streams[number] = os.fdopen(number, mode, buffering, encoding, its_errors, closefd=False)
    return streams


class Ending:
    """Ends the process when Python has waited for threads and run what was registered for the exit.

    What follows takes longer than most commands do: each module is taken apart, which copies the memory that
    the command shares with the server. If streams cannot be flushed, Python ends as it always does.
    """

    def __init__(self) -> None:
        self._code: object = None
        atexit.register(self._end)  # before others do, so that it comes last

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None or isinstance(error, SystemExit):
            self._code = getattr(error, "code", None) or 0

    def _end(self) -> None:
        if isinstance(self._code, int):
            with contextlib.suppress(OSError, ValueError):
                for stream in (sys.stdout, sys.stderr):
                    if stream is not None:
                        stream.flush()
                os._exit(self._code)


if __name__ == "__main__":
    what, where, *words = sys.argv[1:]
    if what == "run":
        run(where, words[0], words[1:])
    ending = Ending()
    serve(int(where), words)
    from clipcli.__main__ import main

    with ending:
        main()
