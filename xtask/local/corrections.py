"""Corrects the local AWS engine where it is more permissive than AWS or leaves out what AWS sends.

Each correction describes what AWS does. They fit the engine's version in requirements.txt; remove a correction when a
new version no longer needs it.
"""

import contextlib
import contextvars
import json
import threading

STATE_LIMIT = 256 * 1024  # bytes of a state's input or output (AWS Step Functions quotas)
PAYLOAD_LIMIT = 6 * 1024 * 1024  # bytes of a synchronous Lambda request or response (AWS Lambda quotas)


def apply():
    s3_events_carry_the_version()
    stopped_executions_stay_stopped()
    states_hold_256_kib()
    payloads_hold_6_mb()
    succeed_states_have_an_output()
    task_tokens_are_used_once()
    waiting_tasks_fail_with_their_function()
    http_apis_have_the_cors_of_their_template()


def s3_events_carry_the_version():
    """EventBridge events of a versioned bucket have `detail.object.version-id`."""
    from ministack.services import eventbridge, s3

    version = contextvars.ContextVar("version", default=None)
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    def fire_with_version(*args, version_id=None, **kwargs):
        token = version.set(version_id)
        try:
            return fire(*args, version_id=version_id, **kwargs)
        finally:
            version.reset(token)

    def dispatch_with_version(event, *args, **kwargs):
        if event.get("Source") == "aws.s3" and version.get():
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = version.get()
            event["Detail"] = json.dumps(detail)
        return dispatch(event, *args, **kwargs)

    s3._fire_s3_event = fire_with_version
    eventbridge._dispatch_event = dispatch_with_version


# The execution of the task that the current thread runs.
_execution = contextvars.ContextVar("execution", default=None)


def stopped_executions_stay_stopped():
    """StopExecution ends an execution for good: no further task starts, even inside a Map, and it stays ABORTED."""
    from ministack.services import stepfunctions as sfn

    fail, task, retrier = sfn._fail_execution, sfn._execute_task, sfn._find_matching_retrier

    def fail_if_running(execution, error, cause):
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    def stopped():
        execution = _execution.get()
        return execution is not None and execution["status"] != "RUNNING"

    def task_if_running(state, raw_input, execution, ctx):
        _execution.set(execution)
        if stopped():
            raise sfn._ExecutionError("States.ExecutionAborted", "the execution was stopped")
        # A time limit may be an expression.
        if isinstance(state.get("TimeoutSeconds"), str):
            limit = sfn._jsonata_state_field(state, "TimeoutSeconds", "number", raw_input, ctx)
            state = {**state, "TimeoutSeconds": limit}
        return task(state, raw_input, execution, ctx)

    def no_retrier_when_stopped(*args):
        return (None, None) if stopped() else retrier(*args)

    sfn._fail_execution = fail_if_running
    sfn._execute_task = task_if_running
    sfn._find_matching_retrier = no_retrier_when_stopped


def states_hold_256_kib():
    """A state's arguments or output above 256 KiB is States.DataLimitExceeded."""
    from ministack.services import stepfunctions as sfn

    for name in ("_apply_jsonata_arguments", "_apply_jsonata_output"):
        original = getattr(sfn, name)

        def limited(state, *args, _original=original, **kwargs):
            value = _original(state, *args, **kwargs)
            if len(json.dumps(value).encode()) > STATE_LIMIT:
                raise sfn._ExecutionError(
                    "States.DataLimitExceeded", f"a {state.get('Type')} state's data is above {STATE_LIMIT} bytes"
                )
            return value

        setattr(sfn, name, limited)


def payloads_hold_6_mb():
    """A function's request or response above 6 MB is an error of the call."""
    from ministack.core.lambda_runtime import ProvidedWorker

    invoke = ProvidedWorker.invoke

    def limited(self, event, *args, **kwargs):
        if len(json.dumps(event).encode()) > PAYLOAD_LIMIT:
            message = f"the request must be smaller than {PAYLOAD_LIMIT} bytes"
            return failure("RequestEntityTooLargeException", message)
        answer = invoke(self, event, *args, **kwargs)
        if answer.get("status") == "ok" and len(json.dumps(answer.get("result")).encode()) > PAYLOAD_LIMIT:
            message = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes)."
            return failure("Function.ResponseSizeTooLarge", message)
        return answer

    def failure(kind, message):
        payload = {"errorType": kind, "errorMessage": message}
        return {"status": "error", "error": message, "error_payload": payload, "cold_start": False, "log": ""}

    ProvidedWorker.invoke = limited


def succeed_states_have_an_output():
    """A Succeed state's JSONata `Output` is the execution's output."""
    from ministack.services import stepfunctions as sfn

    original = sfn._apply_output_path

    def output(state, data, ctx=None):
        if state.get("Type") == "Succeed" and sfn._state_query_language(state, ctx) == "JSONata":
            return sfn._apply_jsonata_output(state, data, ctx, default=data)
        return original(state, data, ctx)

    sfn._apply_output_path = output


def task_tokens_are_used_once():
    """The first SendTaskSuccess or SendTaskFailure closes the task; every later one fails with TaskTimedOut, as does the first
    one when the execution was stopped."""
    from ministack.services import stepfunctions as sfn

    closed, lock = set(), threading.Lock()

    def once(original):
        def send(data):
            with lock:
                token = data.get("taskToken")
                execution = sfn._task_tokens.get(token, {}).get("execution")
                if token in closed or (execution is not None and execution["status"] != "RUNNING"):
                    return sfn.error_response_json("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'", 400)
                answer = original(data)
                if answer[0] == 200:
                    closed.add(token)
                return answer

        return send

    for attribute in ("_send_task_success", "_send_task_failure"):
        setattr(sfn, attribute, once(getattr(sfn, attribute)))


def waiting_tasks_fail_with_their_function():
    """A waitForTaskToken task fails if its function fails, because nobody has its token."""
    from ministack.services import stepfunctions as sfn

    original = sfn._invoke_with_callback

    def invoke(resource, arguments, token, state):
        if "states:::lambda:invoke" not in resource:
            return original(resource, arguments, token, state)
        task = {"event": threading.Event(), "result": None, "error": None, "heartbeat": None, "execution": _execution.get()}
        sfn._task_tokens[token] = task
        with contextlib.ExitStack() as stack:
            stack.callback(sfn._task_tokens.pop, token, None)
            function = sfn._resolve_lambda_function_ref(arguments.get("FunctionName", ""), optimized=True)
            sfn._call_lambda(function, arguments.get("Payload", arguments))
            wait_for(task["event"], state.get("TimeoutSeconds", 99_999_999))
            if task["error"]:
                raise sfn._ExecutionError(task["error"].get("Error") or "TaskFailed", task["error"].get("Cause") or "")
            return json.loads(task["result"])

    def wait_for(event, seconds):
        execution = _execution.get()
        while not event.wait(min(seconds, 1.0)):
            seconds -= 1.0
            if seconds <= 0:
                raise sfn._ExecutionError("States.Timeout", "the task timed out waiting for its token")
            if execution is not None and execution["status"] != "RUNNING":
                raise sfn._ExecutionError("States.ExecutionAborted", "the execution was stopped")

    sfn._invoke_with_callback = invoke


def http_apis_have_the_cors_of_their_template():
    """An HttpApi answers preflights by the CorsConfiguration that CloudFormation gave it, whose names are capitalised."""
    from ministack.services import apigateway

    for name in ("_cors_response_headers", "_cors_preflight_response"):
        original = getattr(apigateway, name)

        def by_api_names(cors, origin, _original=original):
            return _original({key[:1].lower() + key[1:]: value for key, value in (cors or {}).items()}, origin)

        setattr(apigateway, name, by_api_names)
