"""Runs the local AWS engine with corrections, and writes the output of the functions to files.

Usage: serve.py LOG_DIRECTORY (xtask/src/engine.rs sets everything else in the environment)
"""

import pathlib
import re
import sys

import corrections
import gate


# Beside the logs of a stack whose tests act on executions.
GATE = pathlib.Path("gate").resolve()


def keep_function_logs(directory: pathlib.Path) -> None:
    """Appends each function's output to `<directory>/<function>.log`. The engine keeps it in memory only."""
    from ministack.core.lambda_runtime import ProvidedWorker

    pump = ProvidedWorker._pump_output

    class Tee:
        def __init__(self, stream, path):
            self.stream = stream
            self.log = path.open("ab", buffering=0)

        def readline(self):
            line = self.stream.readline()
            if line:
                self.log.write(line if isinstance(line, bytes) else line.encode())
            return line

        def close(self):
            self.log.close()
            self.stream.close()

    def pump_and_keep(self, stream, log_queue):
        # CloudFormation names it <stack>-<logical id>-<suffix>: onceload-OpenImportFunction-1A2B is open-import.
        parts = self.func_name.split("-")
        name = parts[1].removesuffix("Function") if len(parts) > 2 else self.func_name
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
        pump(self, Tee(stream, directory / f"{name}.log"), log_queue)

    ProvidedWorker._pump_output = pump_and_keep


def main() -> None:
    logs = pathlib.Path(sys.argv.pop(1))
    logs.mkdir(parents=True, exist_ok=True)
    keep_function_logs(logs)
    corrections.apply()
    if GATE.is_dir():
        gate.install(GATE)
    from ministack.app import main as serve

    serve()


if __name__ == "__main__":
    main()
