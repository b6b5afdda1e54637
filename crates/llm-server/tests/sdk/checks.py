"""The official Python SDK against a gateway: checks.py sync|async GATEWAY LIMITED UPSTREAM

Every check runs unchanged for both clients: `call`, `each` and `opened` await what has to be awaited. The client
does not retry unless a check says so. After each check the upstream must be idle again.
"""

import array
import asyncio
import base64
import contextlib
import inspect
import json
import logging
import sys
import traceback
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import List, Literal, Optional, Union

import openai
from pydantic import BaseModel, Field

FLAVOUR, GATEWAY, LIMITED, UPSTREAM = sys.argv[1:5]
KEY = "sesame"

# A fail-safe for the SDK's own waits, not a measure.
PATIENCE = 60.0

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def new_client(base=GATEWAY, key=KEY):
    kind = {"sync": openai.OpenAI, "async": openai.AsyncOpenAI}[FLAVOUR]
    return kind(base_url=f"{base}/v1", api_key=key, max_retries=0, timeout=PATIENCE)


async def call(function, *args, **kwargs):
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def each(items):
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@contextlib.asynccontextmanager
async def opened(manager):
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def together(function, arguments):
    """The results of `function` for each of `arguments`, all called at once."""
    if FLAVOUR == "async":
        return await asyncio.gather(*(function(argument) for argument in arguments))
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(function, arguments))


def said(text):
    return [{"role": "user", "content": text}]


def completion(client, model, text="hello", **more):
    return call(client.chat.completions.create, model=model, messages=said(text), **more)


async def refused(kind, awaitable):
    """The error with which a call ends, which must be of exactly this class."""
    try:
        result = await awaitable
    except openai.OpenAIError as error:
        equal(type(error), kind, repr(error))
        return error
    raise AssertionError(f"{kind.__name__} was expected, got {result!r}")


def equal(left, right, *about):
    assert left == right, f"{left!r} is not {right!r} {' '.join(map(str, about))}".rstrip()


def ask_upstream(path):
    with urllib.request.urlopen(f"{UPSTREAM}/sim/{path}", timeout=PATIENCE) as answer:
        return json.load(answer)


def last_body():
    return json.loads(ask_upstream("last")["body"])


def upstream(count):
    return ask_upstream("stats")[count]


def cancelled_since(before):
    """Waits until the upstream has seen one more request cancelled than before."""
    stats = ask_upstream(f"stats?cancelled={before + 1}&active=0")
    equal(stats["cancelled"], before + 1)


# Completions


@check
async def a_completion_has_text_usage_and_reason(client):
    answer = await completion(client, "up/sim?reply=one two three")
    (choice,) = answer.choices
    equal((choice.message.role, choice.message.content), ("assistant", "one two three"))
    equal((choice.finish_reason, choice.message.tool_calls, answer.object), ("stop", None, "chat.completion"))
    equal(answer.model, "sim")
    usage = answer.usage
    equal(usage.completion_tokens, 3)
    assert usage.prompt_tokens > 0
    equal(usage.total_tokens, usage.prompt_tokens + 3)
    assert answer.id and answer.created > 0


@check
async def a_configured_name_and_any_characters_work(client):
    equal((await completion(client, "fast")).choices[0].message.content, "told by name")
    text = "grüße, \N{EARTH GLOBE EUROPE-AFRICA} \"quoted\"\n\ttabbed"
    escaped = "".join(f"%{byte:02X}" for byte in text.encode())
    equal((await completion(client, f"up/sim?reply={escaped}", text)).choices[0].message.content, text)
    stream = await completion(client, f"up/sim?reply={escaped}", text, stream=True)
    equal("".join([chunk.choices[0].delta.content or "" async for chunk in each(stream)]), text)


@check
async def a_cap_ends_an_answer_and_several_choices_are_given(client):
    answer = await completion(client, "up/sim?tokens=20", max_completion_tokens=4, n=2)
    equal([choice.index for choice in answer.choices], [0, 1])
    equal({choice.finish_reason for choice in answer.choices}, {"length"})
    equal(answer.usage.completion_tokens, 8)


@check
async def what_the_caller_says_arrives(client):
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
    ]
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]
    more = {"temperature": 0.25, "seed": 7, "stop": ["END"], "logit_bias": {"50256": -100}, "user": "someone"}
    await call(client.chat.completions.create, model="up/sim", messages=messages, extra_body={"top_k": 5}, **more)
    equal(last_body(), {"model": "sim", "messages": messages, "top_k": 5, **more})


# Streams


@check
async def a_stream_says_what_the_whole_answer_says(client):
    whole = await completion(client, "up/sim?tokens=12")
    stream = await completion(client, "up/sim?tokens=12", stream=True)
    chunks = [chunk async for chunk in each(stream)]
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks), whole.choices[0].message.content)
    assert len(chunks) > 12, len(chunks)
    equal({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
    equal(len({chunk.id for chunk in chunks}), 1)
    equal(chunks[0].choices[0].delta.role, "assistant")
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    equal((reasons[-1], set(reasons[:-1])), ("stop", {None}))
    equal([chunk.usage for chunk in chunks if chunk.usage], [], "nobody asked for the usage")


@check
async def a_streams_usage_comes_when_it_is_asked_for(client):
    whole = await completion(client, "up/sim?tokens=5")
    stream = await completion(client, "up/sim?tokens=5", stream=True, stream_options={"include_usage": True})
    *chunks, last = [chunk async for chunk in each(stream)]
    equal((last.choices, last.usage), ([], whole.usage))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@check
async def the_stream_helper_puts_the_answer_together(client):
    asked = {"model": "up/sim?tokens=9", "messages": said("hello"), "stream_options": {"include_usage": True}}
    whole = await completion(client, "up/sim?tokens=9")
    async with opened(client.chat.completions.stream(**asked)) as stream:
        events = [event async for event in each(stream)]
        final = await call(stream.get_final_completion)
    equal("".join(event.delta for event in events if event.type == "content.delta"), whole.choices[0].message.content)
    equal(final.choices[0].message.content, whole.choices[0].message.content)
    equal((final.choices[0].finish_reason, final.usage), ("stop", whole.usage))
    assert "content.done" in {event.type for event in events}


@check
async def a_closed_stream_cancels_the_upstream(client):
    before = upstream("cancelled")
    stream = await completion(client, "up/sim?tokens=100000,gap=10ms", stream=True)
    async for chunk in each(stream):
        if chunk.choices[0].delta.content:
            break
    await call(stream.close)
    cancelled_since(before)
    helper = client.chat.completions.stream(model="up/sim?tokens=100000,gap=10ms", messages=said("hello"))
    async with opened(helper) as stream:
        async for _ in each(stream):
            break
    cancelled_since(before + 1)


@check
async def a_stream_that_breaks_off_raises(client):
    for script in ["cut_after=3", "cut_after=3,cut_clean", "error_event=3", "truncate,cut_after=2"]:
        stream = await completion(client, f"up/sim?{script}", script, stream=True)
        words = []

        async def read():
            async for chunk in each(stream):
                words.append(chunk.choices[0].delta.content)
                equal(chunk.choices[0].finish_reason, None, script)

        error = await refused(openai.APIError, read())
        assert error.message and error.code == "upstream_error" and error.type == "server_error", repr(error.body)
        assert any(words), script


@check
async def a_stream_that_fails_before_it_begins_has_a_status(client):
    error = await refused(openai.InternalServerError, completion(client, "up/sim?cut_after=0", stream=True))
    equal((error.status_code, error.code), (502, "upstream_error"))
    error = await refused(openai.RateLimitError, completion(client, "up/sim?status=429,retry_after=30s", stream=True))
    equal(error.response.headers["retry-after"], "30")


# Tools


class Unit(str, Enum):
    celsius = "celsius"
    kelvin = "kelvin"


class GetWeather(BaseModel):
    """The weather at a place."""

    city: str = Field(min_length=3)
    unit: Unit
    days: int = Field(ge=2)


WEATHER = openai.pydantic_function_tool(GetWeather, name="get_weather")
PLACE = {
    "type": "function",
    "function": {
        "name": "find_place",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}


@check
async def tools_are_called_and_their_results_heard(client):
    answer = await completion(client, "up/sim?tool", tools=[WEATHER, PLACE])
    (choice,) = answer.choices
    equal((choice.finish_reason, choice.message.content), ("tool_calls", None))
    calls = choice.message.tool_calls
    equal([(one.type, one.function.name) for one in calls], [("function", "get_weather"), ("function", "find_place")])
    equal(len({one.id for one in calls}), 2)
    asked = GetWeather.model_validate_json(calls[0].function.arguments)
    assert asked.days >= 2 and len(asked.city) >= 3
    assert isinstance(json.loads(calls[1].function.arguments)["name"], str)

    results = [{"role": "tool", "tool_call_id": one.id, "content": "sunny"} for one in calls]
    messages = [*said("hello"), choice.message, *results]
    answer = await call(client.chat.completions.create, model="up/sim?tool", messages=messages, tools=[WEATHER, PLACE])
    equal((answer.choices[0].finish_reason, answer.choices[0].message.tool_calls), ("stop", None))
    assert answer.choices[0].message.content
    heard = last_body()["messages"]
    equal(heard[1]["tool_calls"][0]["function"]["arguments"], calls[0].function.arguments)
    equal([message["role"] for message in heard], ["user", "assistant", "tool", "tool"])


@check
async def a_choice_of_tools_is_obeyed(client):
    more = {"tools": [WEATHER, PLACE], "parallel_tool_calls": False}
    answer = await completion(client, "up/sim", tool_choice="required", **more)
    equal([one.function.name for one in answer.choices[0].message.tool_calls], ["get_weather"])
    named = {"type": "function", "function": {"name": "find_place"}}
    answer = await completion(client, "up/sim", tool_choice=named, **more)
    equal([one.function.name for one in answer.choices[0].message.tool_calls], ["find_place"])
    answer = await completion(client, "up/sim?tool", tool_choice="none", **more)
    equal(answer.choices[0].message.tool_calls, None)


@check
async def streamed_tool_calls_are_those_of_the_whole_answer(client):
    whole = await completion(client, "up/sim?tool", tools=[WEATHER, PLACE])
    stream = await completion(client, "up/sim?tool", tools=[WEATHER, PLACE], stream=True)
    names, arguments, ids, reason = {}, {}, {}, None
    async for chunk in each(stream):
        reason = chunk.choices[0].finish_reason or reason
        for part in chunk.choices[0].delta.tool_calls or []:
            if part.id:
                ids[part.index], names[part.index] = part.id, part.function.name
            arguments[part.index] = arguments.get(part.index, "") + (part.function.arguments or "")
    calls = whole.choices[0].message.tool_calls
    equal(list(names.values()), [one.function.name for one in calls])
    equal(list(arguments.values()), [one.function.arguments for one in calls])
    equal((len(set(ids.values())), reason), (2, "tool_calls"))


@check
async def the_helpers_parse_arguments(client):
    asked = {"model": "up/sim?tool", "messages": said("hello"), "tools": [WEATHER]}
    answer = await call(client.chat.completions.parse, **asked)
    parsed = answer.choices[0].message.tool_calls[0].function.parsed_arguments
    assert isinstance(parsed, GetWeather), repr(parsed)
    async with opened(client.chat.completions.stream(**asked)) as stream:
        events = [event async for event in each(stream)]
        final = await call(stream.get_final_completion)
    equal(final.choices[0].message.tool_calls[0].function.parsed_arguments, parsed)
    (done,) = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    equal((done.name, done.parsed_arguments), ("get_weather", parsed))


# Structured output


class Step(BaseModel):
    explanation: str
    value: float


class Solution(BaseModel):
    steps: List[Step] = Field(min_length=2)
    kind: Literal["linear", "square"]
    note: Optional[str]
    either: Union[Step, int]
    checked: bool


@check
async def structured_output_is_parsed(client):
    asked = {"model": "up/sim", "messages": said("solve it"), "response_format": Solution}
    answer = await call(client.chat.completions.parse, **asked)
    solution = answer.choices[0].message.parsed
    assert isinstance(solution, Solution) and len(solution.steps) == 2, repr(solution)
    equal(answer.choices[0].finish_reason, "stop")
    async with opened(client.chat.completions.stream(**asked)) as stream:
        final = await call(stream.get_final_completion)
    equal(final.choices[0].message.parsed, solution)
    schema = last_body()["response_format"]["json_schema"]
    equal((schema["name"], schema["strict"]), ("Solution", True))


@check
async def structured_output_that_meets_the_cap_is_told(client):
    asked = {"model": "up/sim", "messages": said("solve it"), "response_format": Solution, "max_tokens": 2}
    await refused(openai.LengthFinishReasonError, call(client.chat.completions.parse, **asked))


@check
async def the_json_mode_gives_json(client):
    answer = await completion(client, "up/sim", response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


# Embeddings and models


@check
async def embeddings_are_equal_in_both_encodings(client):
    inputs = ["one", "two", "grüße", "one"]
    asked = {"model": "up/sim", "input": inputs}
    floats = await call(client.embeddings.create, encoding_format="float", **asked)
    packed = await call(client.embeddings.create, **asked)
    equal(last_body()["encoding_format"], "base64", "the SDK's own choice")
    for answer in [floats, packed]:
        equal(([item.index for item in answer.data], answer.object), ([0, 1, 2, 3], "list"))
        assert answer.usage.prompt_tokens > 0 and answer.usage.total_tokens == answer.usage.prompt_tokens
    for number in range(4):
        # Base64 carries 32 bits a number.
        left, right = (array.array("f", answer.data[number].embedding) for answer in [floats, packed])
        assert len(left) > 0
        equal(left, right)
    equal(floats.data[0].embedding, floats.data[3].embedding)
    assert floats.data[0].embedding != floats.data[1].embedding
    one = await call(client.embeddings.create, model="vectors", input="one", encoding_format="float", dimensions=8)
    equal((len(one.data), len(one.data[0].embedding)), (1, 8))
    text = await call(client.embeddings.create, model="up/sim", input="one", encoding_format="base64")
    assert isinstance(text.data[0].embedding, str), "asked for as text, it stays text"


@check
async def models_are_listed_and_looked_up(client):
    names = [model.id async for model in each(await call(client.models.list))]
    assert {"fast", "vectors"} <= set(names), names
    for name in ["fast", "up/sim"]:
        model = await call(client.models.retrieve, name)
        equal((model.id, model.object), (name, "model"))
    error = await refused(openai.NotFoundError, call(client.models.retrieve, "nobody/nothing"))
    equal((error.status_code, error.code), (404, "model_not_found"))


# Errors


@check
async def each_status_has_its_class(client):
    error = await refused(openai.AuthenticationError, completion(new_client(key="wrong"), "up/sim"))
    equal((error.status_code, error.code, error.type), (401, "invalid_api_key", "invalid_request_error"))
    error = await refused(openai.PermissionDeniedError, completion(new_client(key="operator"), "up/sim"))
    equal(error.code, "missing_scope")
    error = await refused(openai.NotFoundError, completion(client, "nobody"))
    equal((error.code, error.type), ("model_not_found", "invalid_request_error"))
    error = await refused(openai.NotFoundError, completion(client, "up/sim?status=404"))
    equal(error.code, "model_not_found")
    error = await refused(openai.UnprocessableEntityError, completion(client, "up/sim?status=422"))
    equal(error.status_code, 422)
    error = await refused(openai.InternalServerError, completion(client, "up/sim?status=500"))
    equal((error.status_code, error.code, error.type), (502, "upstream_error", "server_error"))
    error = await refused(openai.InternalServerError, completion(client, "up/sim?status=503"))
    equal((error.status_code, error.code), (503, "server_is_overloaded"))
    error = await refused(openai.InternalServerError, completion(client, "up/sim?status=401"))
    equal((error.status_code, error.code), (502, "upstream_auth_error"), "a caller's key is not at fault")
    assert error.message and error.request_id


@check
async def a_mistake_names_its_parameter(client):
    create = client.chat.completions.create
    error = await refused(openai.BadRequestError, call(create, model="up/sim", messages=[]))
    equal((error.status_code, error.param, error.type), (400, "messages", "invalid_request_error"))
    error = await refused(openai.BadRequestError, completion(client, ""))
    equal(error.param, "model")
    error = await refused(openai.BadRequestError, completion(client, "up/sim", stream="yes"))
    equal((error.param, error.code), ("stream", "invalid_type"))
    error = await refused(openai.BadRequestError, completion(client, "up/sim?status=400,code=context_length_exceeded"))
    equal((error.param, error.code), ("messages", "context_length_exceeded"))
    error = await refused(openai.BadRequestError, call(client.embeddings.create, model="up/sim", input=None))
    equal(error.param, "input")


@check
async def a_body_that_is_too_large_is_told(client):
    error = await refused(openai.APIStatusError, completion(client, "up/sim", "x" * 3_000_000))
    equal((error.status_code, error.code), (413, "request_too_large"))
    equal((await completion(client, "up/sim?reply=smaller")).choices[0].message.content, "smaller")


@check
async def an_upstreams_rate_limit_is_told_with_its_wait(client):
    error = await refused(openai.RateLimitError, completion(client, "up/sim?status=429,retry_after=7s"))
    headers = error.response.headers
    equal((headers["retry-after"], headers["retry-after-ms"], error.code), ("7", "7000", "rate_limit_exceeded"))
    error = await refused(openai.RateLimitError, completion(client, "up/sim?status=429,code=insufficient_quota"))
    equal((error.code, error.type), ("insufficient_quota", "insufficient_quota"))


@check
async def the_gateways_own_rate_limit_is_told_with_its_wait(_):
    client = new_client(LIMITED)
    before = upstream("requests")
    equal((await completion(client, "up/sim?reply=first")).choices[0].message.content, "first")
    error = await refused(openai.RateLimitError, completion(client, "up/sim?reply=second"))
    equal((error.type, error.code), ("requests", "rate_limit_exceeded"))
    seconds, millis = (int(error.response.headers[name]) for name in ["retry-after", "retry-after-ms"])
    assert 0 < millis <= 50_000 and seconds == -(-millis // 1000), (seconds, millis)
    equal(upstream("requests"), before + 1)


class Log(logging.Handler):
    """What the SDK says about its retries."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        line = record.getMessage()
        if line.startswith("Retrying request in"):
            self.lines.append(line)


@contextlib.contextmanager
def retries_logged():
    log, logger = Log(), logging.getLogger("openai")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        yield log.lines
    finally:
        logger.setLevel(logging.WARNING)
        logger.removeHandler(log)


@check
async def the_sdk_retries_after_the_wait_that_it_is_told(client):
    # The gateway tries twice a request, so that the SDK's second request meets the first success.
    before = upstream("requests")
    with retries_logged() as lines:
        create = client.with_options(max_retries=2).chat.completions.with_raw_response.create
        model = f"up/sim?fail_first=2,status=429,retry_after=35ms,key={FLAVOUR}-429,reply=at last"
        raw = await call(create, model=model, messages=said("hello"))
    equal((raw.parse().choices[0].message.content, raw.retries_taken), ("at last", 1))
    equal(lines, ["Retrying request in 0.035000 seconds (retry 1 of 2)"])
    equal(upstream("requests"), before + 3)


@check
async def max_retries_is_honoured(client):
    before = upstream("requests")
    with retries_logged() as lines:
        twice = client.with_options(max_retries=2)
        await refused(openai.RateLimitError, completion(twice, "up/sim?status=429,retry_after=5ms"))
    equal((len(lines), upstream("requests")), (2, before + 6))


@check
async def the_sdk_does_not_multiply_the_gateways_retries(client):
    before = upstream("requests")
    twice = client.with_options(max_retries=2)
    error = await refused(openai.InternalServerError, completion(twice, "up/sim?status=503"))
    equal((error.response.headers["x-should-retry"], error.response.headers["x-llmkit-attempts"]), ("false", "2"))
    equal(upstream("requests"), before + 2)


# Time


@check
async def a_client_that_times_out_cancels_the_upstream(client):
    before = upstream("cancelled")
    hasty = client.with_options(timeout=1.0)
    await refused(openai.APITimeoutError, completion(hasty, "up/sim?stall"))
    cancelled_since(before)
    await refused(openai.APITimeoutError, completion(hasty, "up/sim?stall", stream=True))
    cancelled_since(before + 1)


@check
async def a_stream_that_stalls_times_out_in_the_client(client):
    before = upstream("cancelled")
    stream = await completion(client.with_options(timeout=2.0), "up/sim?tokens=9,stall_after=2", stream=True)
    words = []
    try:
        async for chunk in each(stream):
            words.append(chunk.choices[0].delta.content or "")
    except Exception as error:
        # The SDK leaves an error of its transport as it is once a stream has begun.
        assert "Timeout" in type(error).__name__, repr(error)
    else:
        raise AssertionError("the stream ended")
    assert any(words)
    cancelled_since(before)


@check
async def the_gateways_clocks_give_504(client):
    for stream, clock in [(True, "first_token_timeout"), (False, "total_timeout")]:
        error = await refused(openai.InternalServerError, completion(client, "hasty/sim?stall", stream=stream))
        equal((error.status_code, error.code, error.type), (504, "timeout", "server_error"))
        assert clock in error.message, error.message


# Many at once, and what stands in headers


@check
async def fifty_at_once_get_each_their_own(client):
    def ask(number):
        model = f"up/sim?gap=2ms,reply=this is {number}"
        return client.chat.completions.create(model=model, messages=said(f"{number}"))

    answers = await together(ask, range(50))
    equal([answer.choices[0].message.content for answer in answers], [f"this is {number}" for number in range(50)])
    equal(len({answer._request_id for answer in answers}), 50)


@check
async def fifty_streams_at_once_get_each_their_own(client):
    async def read(number):
        model = f"up/sim?gap=2ms,reply=this is stream {number}"
        stream = await completion(client, model, f"{number}", stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in each(stream)])

    if FLAVOUR == "async":
        texts = await together(read, range(50))
    else:
        texts = await together(lambda number: asyncio.run(read(number)), range(50))
    equal(texts, [f"this is stream {number}" for number in range(50)])


@check
async def headers_and_request_ids_are_there(client):
    raw = await call(client.chat.completions.with_raw_response.create, model="up/sim?reply=raw", messages=said("hello"))
    answer = raw.parse()
    equal((raw.status_code, answer.choices[0].message.content), (200, "raw"))
    assert raw.request_id.startswith("req_"), raw.request_id
    equal((raw.headers["x-request-id"], answer._request_id), (raw.request_id, raw.request_id))
    equal((raw.headers["content-type"], raw.headers["x-llmkit-provider"]), ("application/json", "up"))
    equal((raw.headers["x-llmkit-attempts"], raw.headers["x-llmkit-cache"]), ("1", "miss"))
    answer = await completion(client, "up/sim", extra_headers={"x-request-id": "mine-1"})
    equal(answer._request_id, "mine-1")
    error = await refused(openai.NotFoundError, completion(client, "nobody", extra_headers={"x-request-id": "mine-2"}))
    equal(error.request_id, "mine-2")
    create = client.chat.completions.with_streaming_response.create
    async with opened(create(model="up/sim?reply=streamed", messages=said("hello"), stream=True)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.request_id.startswith("req_")
        stream = await call(response.parse)
        equal("".join([chunk.choices[0].delta.content or "" async for chunk in each(stream)]), "streamed")


# Routes that are passed on


@check
async def moderations_images_and_speech_pass(client):
    answer = await call(client.moderations.create, model="fast", input=["all is well", "this is harmful"])
    equal([result.flagged for result in answer.results], [False, True])
    equal(answer.results[1].categories.self_harm, True)
    equal(last_body(), {"model": "sim?reply=told by name", "input": ["all is well", "this is harmful"]})
    image = await call(client.images.generate, model="up/sim", prompt="a cat")
    assert len(base64.b64decode(image.data[0].b64_json)) > 1000
    stream = await call(client.images.generate, model="up/sim", prompt="a cat", stream=True)
    events = [event async for event in each(stream)]
    equal([event.type for event in events], ["image_generation.partial_image", "image_generation.completed"])
    equal(events[1].b64_json, image.data[0].b64_json)
    asked = {"model": "fast", "voice": "alloy", "input": "say it"}
    speech = await call(client.audio.speech.create, **asked)
    sound = speech.content
    equal((len(sound), sound.count(0xFF) > 0, speech.response.headers["content-type"]), (3000, True, "audio/mpeg"))
    async with opened(client.audio.speech.with_streaming_response.create(**asked)) as response:
        equal(b"".join([piece async for piece in each(response.iter_bytes())]), sound)


@check
async def recordings_and_pictures_are_uploaded(client):
    for length in (10, 400_000):
        file = ("talk.mp3", bytes(range(256)) * (length // 256 + 1))
        answer = await call(client.audio.transcriptions.create, model="fast", file=file)
        equal(answer.text, f"talk.mp3 of {len(file[1])} bytes")
        answer = await call(client.audio.translations.create, model="up/sim", file=file, response_format="text")
        equal(answer.strip(), f"talk.mp3 of {len(file[1])} bytes")
    stream = await call(client.audio.transcriptions.create, model="fast", file=("a.wav", b"x"), stream=True)
    events = [event async for event in each(stream)]
    equal((events[0].delta, events[-1].text), ("a.wav of 1 bytes", "a.wav of 1 bytes"))
    edited = await call(client.images.edit, model="fast", image=("i.png", b"png"), prompt="a cat")
    assert edited.data[0].b64_json
    error = await refused(openai.NotFoundError, call(client.audio.transcriptions.create, model="nobody", file=file))
    equal((error.code, error.param), ("model_not_found", "model"))


@check
async def files_and_batches_are_for_who_may_have_the_account(client):
    error = await refused(openai.PermissionDeniedError, call(client.files.list))
    equal(error.code, "missing_scope")
    operator = new_client(key="operator")
    content = b'{"custom_id": "1"}\n' * 30_000
    file = await call(operator.files.create, file=("in.jsonl", content), purpose="batch")
    equal((file.bytes, file.filename, file.purpose), (len(content), "in.jsonl", "batch"))
    equal(await call(operator.files.retrieve, file.id), file)
    assert file in [known async for known in each((await call(operator.files.list)).data)]
    equal((await call(operator.files.content, file.id)).content, content)
    batch = await call(
        operator.batches.create, input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    equal((batch.status, batch.input_file_id), ("validating", file.id))
    equal(await call(operator.batches.retrieve, batch.id), batch)
    equal((await call(operator.batches.cancel, batch.id)).status, "cancelling")
    upload = await call(operator.uploads.create, bytes=7, filename="f", mime_type="text/plain", purpose="batch")
    parts = [await call(operator.uploads.parts.create, upload.id, data=data) for data in (b"abc", b"defg")]
    upload = await call(operator.uploads.complete, upload.id, part_ids=[part.id for part in parts])
    equal((await call(operator.files.content, upload.file.id)).content, b"abcdefg")
    equal((await call(operator.files.delete, file.id)).deleted, True)
    await refused(openai.NotFoundError, call(operator.files.retrieve, file.id))
    await call(operator.close)


async def main():
    client = new_client()
    failed = 0
    for function in CHECKS:
        try:
            await function(client)
            ask_upstream("stats?active=0")
        except Exception:
            failed += 1
            print(f"FAILED {function.__name__}\n{traceback.format_exc()}", flush=True)
        else:
            print(f"ok     {function.__name__}", flush=True)
    await call(client.close)
    print(f"openai {openai.__version__} {FLAVOUR}: {len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


sys.exit(asyncio.run(main()))
