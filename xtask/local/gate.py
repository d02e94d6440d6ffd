"""Lets a test act at a chosen state of an execution: hold it, fail it, lose its answer, or run it twice.

The engine reads `<directory>/rules.json` before each Lambda task, and finds a rule by the name of the state and by a text of the
execution's name or input, or of the task's payload. A rule without a text fits every execution:

    [{"id": "a", "state": "Validate", "machine": "import", "texts": ["<merchant>"], "acts": ["lose", "fail", "hold"]}]

The n-th task that a rule fits gets the n-th act; later ones run undisturbed. `<directory>/<id>.<n>.reached` says that the task is
there; `hold` waits until `<id>.<n>.open` exists, or the rule is gone.

    hold   runs the function once the test says so
    fail   does not run the function: the task fails with `Transient`
    refuse does not run the function: the task fails with `InvalidInput`, which no state repeats
    lose   runs the function to its end; the task fails with `Transient`
    twice  runs the function twice at the same time; the task gets the answer of the first
"""

import contextvars
import json
import pathlib
import threading
import time

_place = contextvars.ContextVar("place", default=None)
_lock = threading.Lock()
_counts: dict[str, int] = {}


def install(directory: pathlib.Path) -> None:
    from ministack.services import stepfunctions as sfn

    directory.mkdir(parents=True, exist_ok=True)
    task, call = sfn._execute_task, sfn._call_lambda

    def task_at(state, raw_input, execution, ctx):
        _place.set((ctx["StateMachine"]["Name"], ctx["State"]["Name"], execution))
        return task(state, raw_input, execution, ctx)

    def call_with_acts(function, event):
        found = take_act(directory, event)
        if found is None:
            return call(function, event)
        act, mark, execution = found
        reached = {"function": str(function), "execution": execution, "event": event}
        partial = directory.joinpath(f"{mark}.partial")
        partial.write_text(json.dumps(reached))
        partial.rename(directory.joinpath(f"{mark}.reached"))
        if act == "hold":
            wait_for(directory, mark)
        elif act in ("fail", "refuse"):
            raise failure(sfn, "Transient" if act == "fail" else "InvalidInput")
        elif act == "twice":
            ghost = threading.Thread(target=contextvars.copy_context().run, args=(quietly, call, function, event))
            ghost.start()
        answer = call(function, event)
        if act == "lose":
            raise failure(sfn, "Transient")
        return answer

    sfn._execute_task, sfn._call_lambda = task_at, call_with_acts


def take_act(directory: pathlib.Path, event) -> tuple[str, str, str] | None:
    """The act for this task, the name of its files, and the execution."""
    place = _place.get()
    if place is None:
        return None
    machine, state, execution = place
    known = json.dumps(event) + execution["executionArn"] + execution["input"]
    with _lock:
        for rule in rules_of(directory):
            fits = (
                rule["state"] == state
                and rule["machine"] in machine.lower()
                and (not rule["texts"] or any(text in known for text in rule["texts"]))
            )
            count = _counts.get(rule["id"], 0)
            if fits and count < len(rule["acts"]):
                _counts[rule["id"]] = count + 1
                return rule["acts"][count], f"{rule['id']}.{count}", execution["executionArn"]
    return None


def rules_of(directory: pathlib.Path) -> list:
    try:
        return json.loads(directory.joinpath("rules.json").read_text())
    except FileNotFoundError:
        return []


def wait_for(directory: pathlib.Path, mark: str) -> None:
    rule = mark.rsplit(".", 1)[0]
    while not directory.joinpath(f"{mark}.open").exists() and any(known["id"] == rule for known in rules_of(directory)):
        time.sleep(0.01)


def quietly(call, function, event) -> None:
    try:
        call(function, event)
    except Exception:  # noqa: BLE001  what becomes of the ghost is for the database to say
        pass


def failure(sfn, kind: str):
    return sfn._ExecutionError(kind, json.dumps({"errorType": kind, "errorMessage": "a test made the task fail"}))
