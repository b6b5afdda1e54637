"""The official Python SDKs against a gateway before providers of each format: vendors.py GATEWAY UPSTREAM

Each SDK is unchanged and asks through the gateway for a provider of each format. What one provider is made to say, all
are: text, calls, reason and usage must be the same for all of them, streamed or not.
"""

import json
import sys
import traceback
import urllib.parse
import urllib.request

import anthropic
import openai
from google import genai
from google.genai import errors, types

GATEWAY, UPSTREAM = sys.argv[1:3]
KEY = "sesame"
PROVIDERS = ["chat", "claude", "gem"]

# A fail-safe for the SDKs' own waits, not a measure.
PATIENCE = 60.0

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def equal(left, right, *about):
    assert left == right, f"{left!r} is not {right!r} {' '.join(map(str, about))}".rstrip()


def ask_upstream(path):
    with urllib.request.urlopen(f"{UPSTREAM}/sim/{path}", timeout=PATIENCE) as answer:
        return json.load(answer)


CHAT = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0, timeout=PATIENCE)
CLAUDE = anthropic.Anthropic(base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=PATIENCE)
GEMINI = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=GATEWAY, timeout=int(PATIENCE * 1000)))

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
USER = [{"role": "user", "content": "hello there"}]


def message(model, **more):
    return CLAUDE.messages.create(model=model, max_tokens=50, messages=USER, **more)


def content(model, **config):
    config = types.GenerateContentConfig(max_output_tokens=50, **config)
    return GEMINI.models.generate_content(model=quoted(model), contents="hello there", config=config)


def contents(model, **config):
    config = types.GenerateContentConfig(max_output_tokens=50, **config)
    return GEMINI.models.generate_content_stream(model=quoted(model), contents="hello there", config=config)


def quoted(model):
    """The SDK puts the name into the path as it is."""
    return "models/" + urllib.parse.quote(model, safe="")


def completion(model, **more):
    return CHAT.chat.completions.create(model=model, max_completion_tokens=50, messages=USER, **more)


@check
def a_completion_has_text_reason_and_usage_from_every_provider():
    for provider in PROVIDERS:
        answer = completion(f"{provider}/sim?reply=one two three")
        (choice,) = answer.choices
        equal((choice.message.content, choice.finish_reason), ("one two three", "stop"), provider)
        equal((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (3, 3, 6), provider)
        assert answer.id and answer.created, provider


@check
def a_streamed_completion_is_the_whole_one_from_every_provider():
    for provider in PROVIDERS:
        model = f"{provider}/sim?tokens=12"
        whole = completion(model)
        *chunks, last = completion(model, stream=True, stream_options={"include_usage": True})
        equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks), whole.choices[0].message.content, provider)
        equal(chunks[-1].choices[0].finish_reason, "stop", provider)
        equal((last.choices, last.usage.completion_tokens), ([], whole.usage.completion_tokens), provider)
        silent = [chunk.usage for chunk in completion(model, stream=True) if chunk.usage]
        equal(silent, [], provider)


@check
def completions_call_tools_and_read_their_results_from_every_provider():
    tools = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}]
    known = None
    for provider in PROVIDERS:
        model = f"{provider}/sim?tool"
        answer = completion(model, tools=tools)
        equal(answer.choices[0].finish_reason, "tool_calls", provider)
        (called,) = answer.choices[0].message.tool_calls
        arguments = json.loads(called.function.arguments)
        known = known or arguments
        equal((called.function.name, arguments), ("weather", known), provider)
        pieces = [
            call.function.arguments or ""
            for chunk in completion(model, tools=tools, stream=True)
            for choice in chunk.choices
            for call in choice.delta.tool_calls or []
        ]
        equal(json.loads("".join(pieces)), known, provider)
        result = {"role": "tool", "tool_call_id": called.id, "content": "sunny"}
        history = USER + [answer.choices[0].message, result]
        after = CHAT.chat.completions.create(model=model, messages=history, tools=tools)
        equal(after.choices[0].finish_reason, "stop", provider)
        assert after.choices[0].message.content, provider


@check
def completions_refused_and_broken_raise_the_sdks_errors_from_every_provider():
    kinds = {400: openai.BadRequestError, 404: openai.NotFoundError, 429: openai.RateLimitError}
    for provider in PROVIDERS:
        for status, kind in kinds.items():
            try:
                completion(f"{provider}/sim?status={status}")
            except openai.APIStatusError as error:
                equal((type(error), error.status_code), (kind, status), provider)
            else:
                raise AssertionError(f"{provider} {status}: an error was expected")
        try:
            list(completion(f"{provider}/sim?tokens=9,cut_after=3", stream=True))
        except openai.APIError:
            pass
        else:
            raise AssertionError(f"{provider}: the stream broke off and nothing was raised")


def response(model, **more):
    return CHAT.responses.create(model=model, input="hello there", max_output_tokens=50, store=False, **more)


@check
def a_response_and_its_stream_are_the_same_from_every_provider():
    for provider in PROVIDERS:
        model = f"{provider}/sim?tokens=12"
        whole = response(model)
        equal((whole.status, whole.usage.input_tokens, whole.usage.output_tokens), ("completed", 3, 12), provider)
        with CHAT.responses.stream(model=model, input="hello there", max_output_tokens=50, store=False) as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
        equal((text, final.output_text), (whole.output_text, whole.output_text), provider)
        equal((final.status, final.usage.output_tokens), ("completed", 12), provider)
        cut = CHAT.responses.create(model=f"{provider}/sim?tokens=80", input="hello there", max_output_tokens=20)
        equal((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"), provider)


@check
def responses_call_tools_and_read_their_results_from_every_provider():
    tools = [{"type": "function", "name": "weather", "description": "d", "parameters": SCHEMA, "strict": False}]
    known = None
    for provider in PROVIDERS:
        model = f"{provider}/sim?tool"
        answer = response(model, tools=tools)
        (called,) = [item for item in answer.output if item.type == "function_call"]
        arguments = json.loads(called.arguments)
        known = known or arguments
        equal((called.name, arguments), ("weather", known), provider)
        result = {"type": "function_call_output", "call_id": called.call_id, "output": "sunny"}
        history = USER + [item.model_dump(exclude_none=True) for item in answer.output] + [result]
        after = CHAT.responses.create(model=model, input=history, tools=tools, store=False)
        assert after.output_text, provider


@check
def responses_refused_and_broken_say_so_from_every_provider():
    for provider in PROVIDERS:
        try:
            response(f"{provider}/sim?status=429")
        except openai.RateLimitError as error:
            equal(error.status_code, 429, provider)
        else:
            raise AssertionError(f"{provider}: an error was expected")
        # The SDK hands this one on as an event.
        *_, last = response(f"{provider}/sim?tokens=9,cut_after=3", stream=True)
        equal(last.type, "error", provider)


@check
def a_prompt_is_completed_by_every_provider():
    for provider in PROVIDERS:
        answer = CHAT.completions.create(model=f"{provider}/sim?reply=one two", prompt="hello there")
        equal((answer.choices[0].text, answer.choices[0].finish_reason), ("one two", "stop"), provider)
        chunks = CHAT.completions.create(model=f"{provider}/sim?reply=one two", prompt="hello there", stream=True)
        equal("".join(chunk.choices[0].text for chunk in chunks if chunk.choices), "one two", provider)


@check
def a_message_has_text_reason_and_usage():
    for provider in PROVIDERS:
        answer = message(f"{provider}/sim?reply=one two three")
        equal([(block.type, block.text) for block in answer.content], [("text", "one two three")], provider)
        equal((answer.role, answer.type, answer.stop_reason), ("assistant", "message", "end_turn"), provider)
        equal((answer.usage.input_tokens, answer.usage.output_tokens), (3, 3), provider)
        assert answer.id and answer._request_id, provider


@check
def a_streamed_message_is_the_whole_one():
    for provider in PROVIDERS:
        model = f"{provider}/sim?tokens=12"
        whole = message(model)
        with CLAUDE.messages.stream(model=model, max_tokens=50, messages=USER) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        equal(text, whole.content[0].text, provider)
        equal(final.content[0].text, whole.content[0].text, provider)
        equal((final.stop_reason, final.usage.output_tokens), (whole.stop_reason, whole.usage.output_tokens), provider)
        equal(final.usage.input_tokens, whole.usage.input_tokens, provider)


@check
def messages_call_tools_and_read_their_results():
    tools = [{"name": "weather", "description": "d", "input_schema": SCHEMA}]
    known = None
    for provider in PROVIDERS:
        model = f"{provider}/sim?tool"
        answer = message(model, tools=tools)
        equal(answer.stop_reason, "tool_use", provider)
        (call,) = [block for block in answer.content if block.type == "tool_use"]
        known = known or call.input
        equal((call.name, call.input), ("weather", known), provider)
        with CLAUDE.messages.stream(model=model, max_tokens=50, messages=USER, tools=tools) as stream:
            (streamed,) = [block for block in stream.get_final_message().content if block.type == "tool_use"]
        equal((streamed.name, streamed.input), (call.name, call.input), provider)
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
        history = USER + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        after = CLAUDE.messages.create(model=model, max_tokens=50, messages=history, tools=tools)
        equal(after.stop_reason, "end_turn", provider)
        assert after.content[0].text, provider


@check
def messages_refused_and_broken_raise_the_sdks_errors():
    kinds = {400: anthropic.BadRequestError, 404: anthropic.NotFoundError, 429: anthropic.RateLimitError}
    for provider in PROVIDERS:
        for status, kind in kinds.items():
            try:
                message(f"{provider}/sim?status={status}")
            except anthropic.APIStatusError as error:
                equal((type(error), error.status_code), (kind, status), provider)
            else:
                raise AssertionError(f"{provider} {status}: an error was expected")
        try:
            with CLAUDE.messages.stream(
                model=f"{provider}/sim?tokens=9,cut_after=3", max_tokens=50, messages=USER
            ) as stream:
                list(stream)
        except anthropic.APIError:
            pass
        else:
            raise AssertionError(f"{provider}: the stream broke off and nothing was raised")


@check
def a_wrong_key_is_an_authentication_error():
    try:
        CLAUDE.with_options(api_key="wrong").messages.create(model="claude/sim", max_tokens=5, messages=USER)
    except anthropic.AuthenticationError as error:
        equal(error.status_code, 401)
    else:
        raise AssertionError("an error was expected")


@check
def tokens_are_counted_and_models_are_listed_for_anthropic():
    for provider in PROVIDERS:
        equal(CLAUDE.messages.count_tokens(model=f"{provider}/sim", messages=USER).input_tokens, 3, provider)
    equal([model.id for model in CLAUDE.models.list()], ["fast", "auto"])


@check
def gemini_has_text_reason_and_usage():
    for provider in PROVIDERS:
        answer = content(f"{provider}/sim?reply=one two three")
        equal(answer.text, "one two three", provider)
        equal(answer.candidates[0].finish_reason, types.FinishReason.STOP, provider)
        usage = answer.usage_metadata
        equal((usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count), (3, 3, 6), provider)


@check
def geminis_stream_is_the_whole_answer():
    for provider in PROVIDERS:
        model = f"{provider}/sim?tokens=12"
        whole = content(model)
        chunks = list(contents(model))
        equal("".join(chunk.text or "" for chunk in chunks), whole.text, provider)
        assert len(chunks) > 5, (provider, len(chunks))
        last = chunks[-1]
        equal(last.usage_metadata.candidates_token_count, whole.usage_metadata.candidates_token_count, provider)


@check
def gemini_calls_functions_and_reads_their_results():
    declared = types.FunctionDeclaration(name="weather", description="d", parameters_json_schema=SCHEMA)
    config = {"tools": [types.Tool(function_declarations=[declared])]}
    known = None
    for provider in PROVIDERS:
        model = f"{provider}/sim?tool"
        answer = content(model, **config)
        (call,) = answer.function_calls
        known = known or call.args
        equal((call.name, call.args), ("weather", known), provider)
        streamed = [call for chunk in contents(model, **config) for call in chunk.function_calls or []]
        equal([(call.name, call.args) for call in streamed], [("weather", known)], provider)
        said = types.Part.from_function_response(name="weather", response={"result": "sunny"})
        said.function_response.id = call.id
        history = [
            types.Content(role="user", parts=[types.Part(text="hello there")]),
            answer.candidates[0].content,
            types.Content(role="user", parts=[said]),
        ]
        after = GEMINI.models.generate_content(
            model=quoted(model), contents=history, config=types.GenerateContentConfig(**config)
        )
        assert after.text, provider


@check
def gemini_refused_and_broken_raises_the_sdks_errors():
    for provider in PROVIDERS:
        try:
            content(f"{provider}/sim?status=400")
        except errors.ClientError as error:
            equal((error.code, error.status), (400, "INVALID_ARGUMENT"), provider)
        else:
            raise AssertionError(f"{provider}: an error was expected")
        try:
            list(contents(f"{provider}/sim?tokens=9,cut_after=3"))
        except errors.APIError:
            pass
        else:
            raise AssertionError(f"{provider}: the stream broke off and nothing was raised")


@check
def tokens_are_counted_and_models_are_listed_for_gemini():
    for provider in PROVIDERS:
        counted = GEMINI.models.count_tokens(model=quoted(f"{provider}/sim"), contents="hello there")
        equal(counted.total_tokens, 3, provider)
    equal([model.name for model in GEMINI.models.list()], ["models/fast", "models/auto"])


def main():
    failed = 0
    for function in CHECKS:
        try:
            function()
            ask_upstream("stats?active=0")
            print(f"ok      {function.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED  {function.__name__}\n{traceback.format_exc()}")
    print(f"{len(CHECKS)} checks, {failed} failed")
    sys.exit(1 if failed else 0)


main()
