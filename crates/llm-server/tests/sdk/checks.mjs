// The official JavaScript SDK against a gateway: checks.mjs GATEWAY LIMITED UPSTREAM
//
// The client does not retry unless a check says so. After each check the upstream must be idle again.

import assert from 'node:assert/strict';

import OpenAI from 'openai';
import { LengthFinishReasonError } from 'openai/error';
import { makeParseableResponseFormat } from 'openai/lib/parser';
import { VERSION } from 'openai/version';

const [GATEWAY, LIMITED, UPSTREAM] = process.argv.slice(2);
const KEY = 'sesame';

// A fail-safe for the SDK's own waits, not a measure.
const PATIENCE = 60_000;

const checks = [];
const check = (name, run) => checks.push({ name, run });
const equal = assert.deepEqual;

const newClient = (base = GATEWAY, apiKey = KEY) =>
  new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0, timeout: PATIENCE });

const said = (content) => [{ role: 'user', content }];

const completion = (client, model, more = {}, options = {}) =>
  client.chat.completions.create({ model, messages: said('hello'), ...more }, options);

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');

/** The error with which a call ends, which must be of exactly this class. */
async function refused(kind, promise) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    assert.equal(error.constructor, kind, `${error.stack}`);
    return error;
  }
  assert.fail(`${kind.name} was expected, got ${JSON.stringify(result)}`);
}

async function askUpstream(path) {
  const answer = await fetch(`${UPSTREAM}/sim/${path}`, { signal: AbortSignal.timeout(PATIENCE) });
  assert.equal(answer.status, 200, path);
  return answer.json();
}

const upstream = async (count) => (await askUpstream('stats'))[count];

const lastBody = async () => JSON.parse((await askUpstream('last')).body);

/** Waits until the upstream has seen one more request cancelled than before. */
async function cancelledSince(before) {
  const stats = await askUpstream(`stats?cancelled=${before + 1}&active=0`);
  equal(stats.cancelled, before + 1);
}

// Completions

check('a completion has text, usage and reason', async (client) => {
  const answer = await completion(client, 'up/sim?reply=one two three');
  equal(answer.choices.length, 1);
  const [{ message, finish_reason }] = answer.choices;
  equal([message.role, message.content, finish_reason], ['assistant', 'one two three', 'stop']);
  equal([message.tool_calls, answer.object, answer.model], [undefined, 'chat.completion', 'sim']);
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert(prompt_tokens > 0);
  equal([completion_tokens, total_tokens], [3, prompt_tokens + 3]);
  assert(answer.id && answer.created > 0);
});

check('a configured name and any characters work', async (client) => {
  equal((await completion(client, 'fast')).choices[0].message.content, 'told by name');
  const text = 'grüße, \u{1F30D} "quoted"\n\ttabbed';
  const model = `up/sim?reply=${encodeURIComponent(text)}`;
  equal((await completion(client, model)).choices[0].message.content, text);
  equal(textOf(await all(await completion(client, model, { stream: true }))), text);
});

check('a cap ends an answer and several choices are given', async (client) => {
  const answer = await completion(client, 'up/sim?tokens=20', { max_completion_tokens: 4, n: 2 });
  equal(answer.choices.map((choice) => [choice.index, choice.finish_reason]), [[0, 'length'], [1, 'length']]);
  equal(answer.usage.completion_tokens, 8);
});

check('what the caller says arrives', async (client) => {
  const image = { url: 'data:image/png;base64,iVBORw0KGgo=', detail: 'low' };
  const body = {
    messages: [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: [{ type: 'text', text: 'what is this?' }, { type: 'image_url', image_url: image }] },
    ],
    temperature: 0.25, seed: 7, stop: ['END'], logit_bias: { 50256: -100 }, user: 'someone', top_k: 5,
  };
  await client.chat.completions.create({ model: 'up/sim', ...body });
  equal(await lastBody(), { model: 'sim', ...body });
});

// Streams

check('a stream says what the whole answer says', async (client) => {
  const whole = await completion(client, 'up/sim?tokens=12');
  const chunks = await all(await completion(client, 'up/sim?tokens=12', { stream: true }));
  equal(textOf(chunks), whole.choices[0].message.content);
  assert(chunks.length > 12, `${chunks.length}`);
  equal(new Set(chunks.map((chunk) => chunk.object)), new Set(['chat.completion.chunk']));
  equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  equal(chunks[0].choices[0].delta.role, 'assistant');
  const reasons = chunks.map((chunk) => chunk.choices[0].finish_reason ?? null);
  equal([reasons.pop(), new Set(reasons)], ['stop', new Set([null])]);
  equal(chunks.filter((chunk) => chunk.usage), [], 'nobody asked for the usage');
});

check("a stream's usage comes when it is asked for", async (client) => {
  const whole = await completion(client, 'up/sim?tokens=5');
  const more = { stream: true, stream_options: { include_usage: true } };
  const chunks = await all(await completion(client, 'up/sim?tokens=5', more));
  const last = chunks.pop();
  equal([last.choices, last.usage], [[], whole.usage]);
  assert(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
});

check('the stream helper puts the answer together', async (client) => {
  const whole = await completion(client, 'up/sim?tokens=9');
  const stream = client.chat.completions.stream({
    model: 'up/sim?tokens=9', messages: said('hello'), stream_options: { include_usage: true },
  });
  let told = '';
  stream.on('content', (delta) => (told += delta));
  const final = await stream.finalChatCompletion();
  const { content } = whole.choices[0].message;
  equal([told, final.choices[0].message.content, final.choices[0].finish_reason], [content, content, 'stop']);
  equal([await stream.totalUsage(), final.usage], [whole.usage, whole.usage]);
});

check('a closed stream cancels the upstream', async (client) => {
  const model = 'up/sim?tokens=100000,gap=10ms';
  const before = await upstream('cancelled');
  for await (const chunk of await completion(client, model, { stream: true })) {
    if (chunk.choices[0].delta.content) break;
  }
  await cancelledSince(before);
  const stream = await completion(client, model, { stream: true });
  await stream[Symbol.asyncIterator]().next();
  stream.controller.abort();
  await cancelledSince(before + 1);
  const helper = client.chat.completions.stream({ model, messages: said('hello') });
  await new Promise((resolve) => helper.once('content', resolve));
  helper.abort();
  await refused(OpenAI.APIUserAbortError, helper.done());
  await cancelledSince(before + 2);
});

check('a stream that breaks off raises', async (client) => {
  for (const script of ['cut_after=3', 'cut_after=3,cut_clean', 'error_event=3', 'truncate,cut_after=2']) {
    const chunks = [];
    const read = async () => {
      for await (const chunk of await completion(client, `up/sim?${script}`, { stream: true })) {
        chunks.push(chunk);
        equal(chunk.choices[0].finish_reason ?? null, null, script);
      }
    };
    const error = await refused(OpenAI.APIError, read());
    equal([error.code, error.type, error.status], ['upstream_error', 'server_error', undefined], script);
    assert(error.message && textOf(chunks), script);
  }
});

check('a stream that fails before it begins has a status', async (client) => {
  const stream = { stream: true };
  let error = await refused(OpenAI.InternalServerError, completion(client, 'up/sim?cut_after=0', stream));
  equal([error.status, error.code], [502, 'upstream_error']);
  error = await refused(OpenAI.RateLimitError, completion(client, 'up/sim?status=429,retry_after=30s', stream));
  equal(error.headers.get('retry-after'), '30');
});

// Tools

const WEATHER = {
  name: 'get_weather',
  strict: true,
  parameters: {
    type: 'object',
    properties: {
      city: { type: 'string', minLength: 3 },
      unit: { enum: ['celsius', 'kelvin'] },
      days: { type: 'integer', minimum: 2 },
    },
    required: ['city', 'unit', 'days'],
    additionalProperties: false,
  },
};
const PLACE = {
  name: 'find_place',
  parameters: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
};
const TOOLS = [WEATHER, PLACE].map((tool) => ({ type: 'function', function: tool }));

const assertWeather = ({ city, unit, days, ...rest }) => {
  assert(city.length >= 3 && unit === 'celsius' && Number.isInteger(days) && days >= 2);
  equal(rest, {});
};

check('tools are called and their results heard', async (client) => {
  const answer = await completion(client, 'up/sim?tool', { tools: TOOLS });
  const [{ message, finish_reason }] = answer.choices;
  equal([finish_reason, message.content], ['tool_calls', null]);
  const calls = message.tool_calls;
  equal(calls.map((call) => `${call.type} ${call.function.name}`), ['function get_weather', 'function find_place']);
  equal(new Set(calls.map((call) => call.id)).size, 2);
  assertWeather(JSON.parse(calls[0].function.arguments));
  equal(typeof JSON.parse(calls[1].function.arguments).name, 'string');

  const results = calls.map((call) => ({ role: 'tool', tool_call_id: call.id, content: 'sunny' }));
  const messages = [...said('hello'), message, ...results];
  const second = await completion(client, 'up/sim?tool', { messages, tools: TOOLS });
  equal([second.choices[0].finish_reason, second.choices[0].message.tool_calls], ['stop', undefined]);
  assert(second.choices[0].message.content);
  equal((await lastBody()).messages, messages);
});

check('a choice of tools is obeyed', async (client) => {
  const named = async (model, tool_choice) => {
    const answer = await completion(client, model, { tools: TOOLS, parallel_tool_calls: false, tool_choice });
    return answer.choices[0].message.tool_calls?.map((call) => call.function.name);
  };
  equal(await named('up/sim', 'required'), ['get_weather']);
  equal(await named('up/sim', { type: 'function', function: { name: 'find_place' } }), ['find_place']);
  equal(await named('up/sim?tool', 'none'), undefined);
});

check('streamed tool calls are those of the whole answer', async (client) => {
  const whole = await completion(client, 'up/sim?tool', { tools: TOOLS });
  const told = [];
  let reason;
  for await (const chunk of await completion(client, 'up/sim?tool', { tools: TOOLS, stream: true })) {
    reason = chunk.choices[0].finish_reason ?? reason;
    for (const part of chunk.choices[0].delta.tool_calls ?? []) {
      told[part.index] ??= { id: part.id, name: part.function.name, arguments: '' };
      told[part.index].arguments += part.function.arguments ?? '';
    }
  }
  const calls = whole.choices[0].message.tool_calls.map((call) => call.function);
  equal(told.map(({ name, arguments: given }) => ({ name, arguments: given })), calls);
  equal([new Set(told.map((call) => call.id)).size, reason], [2, 'tool_calls']);
});

check('the helpers parse arguments', async (client) => {
  const asked = { model: 'up/sim?tool', messages: said('hello'), tools: TOOLS.slice(0, 1) };
  const answer = await client.chat.completions.parse(asked);
  const parsed = answer.choices[0].message.tool_calls[0].function.parsed_arguments;
  assertWeather(parsed);
  const stream = client.chat.completions.stream(asked);
  const done = [];
  stream.on('tool_calls.function.arguments.done', (event) => done.push([event.name, event.parsed_arguments]));
  const final = await stream.finalChatCompletion();
  equal(final.choices[0].message.tool_calls[0].function.parsed_arguments, parsed);
  equal(done, [['get_weather', parsed]]);
});

check('the runner calls functions and gives their results back', async (client) => {
  for (const stream of [false, true]) {
    const heard = [];
    const run = (name) => (given) => {
      heard.push([name, Object.keys(given).sort()]);
      return 'sunny';
    };
    const tools = [WEATHER, PLACE].map((tool) => ({
      type: 'function', function: { ...tool, function: run(tool.name), parse: JSON.parse },
    }));
    const runner = client.chat.completions.runTools({ model: 'up/sim?tool', messages: said('hello'), tools, stream });
    assert(await runner.finalContent());
    equal(heard, [['get_weather', ['city', 'days', 'unit']], ['find_place', ['name']]], `stream: ${stream}`);
    equal((await lastBody()).messages.map((message) => message.role), ['user', 'assistant', 'tool', 'tool']);
  }
});

// Structured output

const STEP = {
  type: 'object',
  properties: { explanation: { type: 'string' }, value: { type: 'number' } },
  required: ['explanation', 'value'],
  additionalProperties: false,
};
const SOLUTION = {
  type: 'json_schema',
  json_schema: {
    name: 'Solution',
    strict: true,
    schema: {
      type: 'object',
      properties: {
        steps: { type: 'array', items: { $ref: '#/$defs/step' }, minItems: 2 },
        kind: { enum: ['linear', 'square'] },
        checked: { type: 'boolean' },
      },
      required: ['steps', 'kind', 'checked'],
      additionalProperties: false,
      $defs: { step: STEP },
    },
  },
};

check('structured output is parsed', async (client) => {
  const response_format = makeParseableResponseFormat(SOLUTION, JSON.parse);
  const asked = { model: 'up/sim', messages: said('solve it'), response_format };
  const answer = await client.chat.completions.parse(asked);
  const { parsed } = answer.choices[0].message;
  equal([Object.keys(parsed).sort(), parsed.kind, parsed.steps.length], [['checked', 'kind', 'steps'], 'linear', 2]);
  assert(parsed.steps.every((step) => typeof step.explanation === 'string' && typeof step.value === 'number'));
  const final = await client.chat.completions.stream(asked).finalChatCompletion();
  equal(final.choices[0].message.parsed, parsed);
  equal((await lastBody()).response_format, SOLUTION);
  await refused(LengthFinishReasonError, client.chat.completions.parse({ ...asked, max_tokens: 2 }));
});

check('the JSON mode gives JSON', async (client) => {
  const answer = await completion(client, 'up/sim', { response_format: { type: 'json_object' } });
  equal(typeof JSON.parse(answer.choices[0].message.content), 'object');
});

// Embeddings and models

check('embeddings are equal in both encodings', async (client) => {
  const asked = { model: 'vectors', input: ['one', 'two', 'grüße', 'one'] };
  const floats = await client.embeddings.create({ ...asked, encoding_format: 'float' });
  const packed = await client.embeddings.create(asked);
  equal((await lastBody()).encoding_format, 'base64', "the SDK's own choice");
  for (const answer of [floats, packed]) {
    equal([answer.data.map((item) => item.index), answer.object], [[0, 1, 2, 3], 'list']);
    assert(answer.usage.prompt_tokens > 0 && answer.usage.total_tokens === answer.usage.prompt_tokens);
  }
  for (const number of [0, 1, 2, 3]) {
    // Base64 carries 32 bits a number.
    const [left, right] = [floats, packed].map((answer) => Float32Array.from(answer.data[number].embedding));
    assert(left.length > 0);
    equal(left, right);
  }
  equal(floats.data[0].embedding, floats.data[3].embedding);
  assert.notDeepEqual(floats.data[0].embedding, floats.data[1].embedding);
  const one = await client.embeddings.create({ ...asked, input: 'one', encoding_format: 'float', dimensions: 8 });
  equal(one.data.map((item) => item.embedding.length), [8]);
});

check('models are listed and looked up', async (client) => {
  const names = (await all(await client.models.list())).map((model) => model.id);
  assert(names.includes('fast') && names.includes('vectors'), `${names}`);
  for (const name of ['fast', 'up/sim']) {
    const model = await client.models.retrieve(name);
    equal([model.id, model.object], [name, 'model']);
  }
  const error = await refused(OpenAI.NotFoundError, client.models.retrieve('nobody/nothing'));
  equal([error.status, error.code], [404, 'model_not_found']);
});

// Errors

check('each status has its class', async (client) => {
  const { AuthenticationError, InternalServerError, NotFoundError } = OpenAI;
  const wrong = newClient(GATEWAY, 'wrong');
  const operator = newClient(GATEWAY, 'operator');
  for (const [kind, asked, model, status, code, type] of [
    [AuthenticationError, wrong, 'up/sim', 401, 'invalid_api_key', 'invalid_request_error'],
    [OpenAI.PermissionDeniedError, operator, 'up/sim', 403, 'missing_scope', 'invalid_request_error'],
    [NotFoundError, client, 'nobody', 404, 'model_not_found', 'invalid_request_error'],
    [NotFoundError, client, 'up/sim?status=404', 404, 'model_not_found', 'invalid_request_error'],
    [OpenAI.UnprocessableEntityError, client, 'up/sim?status=422', 422, null, 'invalid_request_error'],
    [InternalServerError, client, 'up/sim?status=500', 502, 'upstream_error', 'server_error'],
    [InternalServerError, client, 'up/sim?status=503', 503, 'server_is_overloaded', 'service_unavailable_error'],
    // A caller's key is not at fault.
    [InternalServerError, client, 'up/sim?status=401', 502, 'upstream_auth_error', 'server_error'],
  ]) {
    const error = await refused(kind, completion(asked, model));
    equal([error.status, error.code, error.type], [status, code, type], model);
    assert(error.message && error.requestID);
  }
});

check('a mistake names its parameter', async (client) => {
  for (const [more, param, code] of [
    [{ messages: [] }, 'messages', undefined],
    [{ model: '' }, 'model', undefined],
    [{ messages: undefined }, 'messages', 'missing_required_parameter'],
    [{ stream: 'yes' }, 'stream', 'invalid_type'],
    [{ model: 'up/sim?status=400,code=context_length_exceeded' }, 'messages', 'context_length_exceeded'],
  ]) {
    const error = await refused(OpenAI.BadRequestError, completion(client, 'up/sim', more));
    equal([error.status, error.param, error.type], [400, param, 'invalid_request_error']);
    equal(error.code, code ?? error.code);
  }
  const error = await refused(OpenAI.BadRequestError, client.embeddings.create({ model: 'up/sim' }));
  equal(error.param, 'input');
});

check('a body that is too large is told', async (client) => {
  const error = await refused(OpenAI.APIError, completion(client, 'up/sim', { messages: said('x'.repeat(3_000_000)) }));
  equal([error.status, error.code], [413, 'request_too_large']);
  equal((await completion(client, 'up/sim?reply=smaller')).choices[0].message.content, 'smaller');
});

check("an upstream's rate limit is told with its wait", async (client) => {
  let error = await refused(OpenAI.RateLimitError, completion(client, 'up/sim?status=429,retry_after=7s'));
  equal(['retry-after', 'retry-after-ms'].map((name) => error.headers.get(name)), ['7', '7000']);
  equal(error.code, 'rate_limit_exceeded');
  error = await refused(OpenAI.RateLimitError, completion(client, 'up/sim?status=429,code=insufficient_quota'));
  equal([error.code, error.type], ['insufficient_quota', 'insufficient_quota']);
});

check("the gateway's own rate limit is told with its wait", async () => {
  const client = newClient(LIMITED);
  const before = await upstream('requests');
  equal((await completion(client, 'up/sim?reply=first')).choices[0].message.content, 'first');
  const error = await refused(OpenAI.RateLimitError, completion(client, 'up/sim?reply=second'));
  equal([error.type, error.code], ['requests', 'rate_limit_exceeded']);
  const [seconds, millis] = ['retry-after', 'retry-after-ms'].map((name) => Number(error.headers.get(name)));
  assert(millis > 0 && millis <= 50_000 && seconds === Math.ceil(millis / 1000), `${seconds} ${millis}`);
  equal(await upstream('requests'), before + 1);
});

/** The times that the SDK sleeps while `run` goes on: the SDK tells nobody how long it waits before a retry. */
async function timersDuring(run) {
  const { setTimeout } = globalThis;
  const timers = [];
  globalThis.setTimeout = (callback, wait, ...more) => {
    timers.push(wait);
    return setTimeout(callback, wait, ...more);
  };
  try {
    await run();
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  return timers;
}

check('the SDK retries after the wait that it is told', async (client) => {
  // The gateway tries twice a request, so that the SDK's second request meets the first success.
  const before = await upstream('requests');
  const model = 'up/sim?fail_first=2,status=429,retry_after=37ms,key=js-429,reply=at last';
  const timers = await timersDuring(async () => {
    equal((await completion(client, model, {}, { maxRetries: 2 })).choices[0].message.content, 'at last');
  });
  equal(timers.filter((wait) => wait === 37).length, 1, `${timers}`);
  equal(await upstream('requests'), before + 3);
});

check('the number of retries is honoured', async (client) => {
  const before = await upstream('requests');
  const model = 'up/sim?status=429,retry_after=5ms';
  await refused(OpenAI.RateLimitError, completion(client, model, {}, { maxRetries: 2 }));
  equal(await upstream('requests'), before + 6);
});

check("the SDK does not multiply the gateway's retries", async (client) => {
  const before = await upstream('requests');
  const call = completion(client, 'up/sim?status=503', {}, { maxRetries: 2 });
  const error = await refused(OpenAI.InternalServerError, call);
  equal(['x-should-retry', 'x-llmkit-attempts'].map((name) => error.headers.get(name)), ['false', '2']);
  equal(await upstream('requests'), before + 2);
});

// Time

check('a client that times out or gives up cancels the upstream', async (client) => {
  const before = await upstream('cancelled');
  const { APIConnectionTimeoutError, APIUserAbortError } = OpenAI;
  await refused(APIConnectionTimeoutError, completion(client, 'up/sim?stall', {}, { timeout: 1000 }));
  await cancelledSince(before);
  await refused(APIConnectionTimeoutError, completion(client, 'up/sim?stall', { stream: true }, { timeout: 1000 }));
  await cancelledSince(before + 1);
  const controller = new AbortController();
  const call = completion(client, 'up/sim?stall', {}, { signal: controller.signal });
  const ended = refused(APIUserAbortError, call);
  await askUpstream('stats?active=1');
  controller.abort();
  await ended;
  await cancelledSince(before + 2);
});

check("the gateway's clocks give 504", async (client) => {
  for (const [stream, clock] of [[true, 'first_token_timeout'], [false, 'total_timeout']]) {
    const error = await refused(OpenAI.InternalServerError, completion(client, 'hasty/sim?stall', { stream }));
    equal([error.status, error.code, error.type], [504, 'timeout', 'server_error']);
    assert(error.message.includes(clock), error.message);
  }
});

// Many at once, and what stands in headers

const FIFTY = Array.from({ length: 50 }, (_, number) => number);

check('fifty at once get each their own', async (client) => {
  const ask = (number) => completion(client, `up/sim?gap=2ms,reply=this is ${number}`);
  const answers = await Promise.all(FIFTY.map(ask));
  equal(answers.map((answer) => answer.choices[0].message.content), FIFTY.map((number) => `this is ${number}`));
  equal(new Set(answers.map((answer) => answer._request_id)).size, 50);
});

check('fifty streams at once get each their own', async (client) => {
  const read = async (number) =>
    textOf(await all(await completion(client, `up/sim?gap=2ms,reply=this is stream ${number}`, { stream: true })));
  equal(await Promise.all(FIFTY.map(read)), FIFTY.map((number) => `this is stream ${number}`));
});

check('headers and request ids are there', async (client) => {
  const { data, response, request_id } = await completion(client, 'up/sim?reply=raw').withResponse();
  equal([response.status, data.choices[0].message.content], [200, 'raw']);
  assert(request_id.startsWith('req_'), request_id);
  equal([response.headers.get('x-request-id'), data._request_id], [request_id, request_id]);
  const header = (name) => response.headers.get(name);
  equal([header('content-type'), header('x-llmkit-provider')], ['application/json', 'up']);
  equal([header('x-llmkit-attempts'), header('x-llmkit-cache')], ['1', 'miss']);
  const headers = { 'x-request-id': 'mine-1' };
  equal((await completion(client, 'up/sim', {}, { headers }))._request_id, 'mine-1');
  equal((await refused(OpenAI.NotFoundError, completion(client, 'nobody', {}, { headers }))).requestID, 'mine-1');
  const streamed = await completion(client, 'up/sim?reply=streamed', { stream: true }).withResponse();
  assert(streamed.response.headers.get('content-type').startsWith('text/event-stream'));
  assert(streamed.request_id.startsWith('req_'), streamed.request_id);
  equal(textOf(await all(streamed.data)), 'streamed');
});

// Routes that are passed on

check('moderations, images and speech pass', async (client) => {
  const input = ['all is well', 'this is harmful'];
  const answer = await client.moderations.create({ model: 'fast', input });
  equal(answer.results.map((result) => result.flagged), [false, true]);
  equal(await lastBody(), { model: 'sim?reply=told by name', input });
  const image = await client.images.generate({ model: 'up/sim', prompt: 'a cat' });
  assert(Buffer.from(image.data[0].b64_json, 'base64').length > 1000);
  const events = await all(await client.images.generate({ model: 'up/sim', prompt: 'a cat', stream: true }));
  equal(events.map((event) => event.type), ['image_generation.partial_image', 'image_generation.completed']);
  const speech = await client.audio.speech.create({ model: 'fast', voice: 'alloy', input: 'say it' });
  const sound = Buffer.from(await speech.arrayBuffer());
  equal([sound.length, sound.includes(0xff), speech.headers.get('content-type')], [3000, true, 'audio/mpeg']);
});

check('recordings and pictures are uploaded, whatever comes first in their forms', async (client) => {
  for (const length of [10, 400_000]) {
    const file = () => new File([new Uint8Array(length).map((_, at) => at)], 'talk.mp3');
    const forms = [() => ({ model: 'fast', file: file() }), () => ({ file: file(), model: 'fast' })];
    for (const form of forms) {
      equal((await client.audio.transcriptions.create(form())).text, `talk.mp3 of ${length} bytes`);
    }
    const asked = { file: file(), model: 'up/sim', response_format: 'text' };
    equal((await client.audio.translations.create(asked)).trim(), `talk.mp3 of ${length} bytes`);
  }
  const file = new File(['png'], 'i.png');
  assert((await client.images.edit({ image: file, prompt: 'a cat', model: 'fast' })).data[0].b64_json);
  const unknown = client.audio.transcriptions.create({ file, model: 'nobody' });
  const error = await refused(OpenAI.NotFoundError, unknown);
  equal([error.code, error.param], ['model_not_found', 'model']);
});

check('files and batches are for who may have the account', async (client) => {
  equal((await refused(OpenAI.PermissionDeniedError, client.files.list())).code, 'missing_scope');
  const operator = newClient(GATEWAY, 'operator');
  const content = '{"custom_id": "1"}\n'.repeat(30_000);
  const file = await operator.files.create({ file: new File([content], 'in.jsonl'), purpose: 'batch' });
  equal([file.bytes, file.filename, file.purpose], [content.length, 'in.jsonl', 'batch']);
  equal((await operator.files.retrieve(file.id)).id, file.id);
  assert((await operator.files.list()).data.some((known) => known.id === file.id));
  equal(await (await operator.files.content(file.id)).text(), content);
  const asked = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' };
  const batch = await operator.batches.create(asked);
  equal([batch.status, batch.input_file_id], ['validating', file.id]);
  equal((await operator.batches.retrieve(batch.id)).id, batch.id);
  equal((await operator.files.delete(file.id)).deleted, true);
  await refused(OpenAI.NotFoundError, operator.files.retrieve(file.id));
});

const client = newClient();
let failed = 0;
for (const { name, run } of checks) {
  try {
    await run(client);
    await askUpstream('stats?active=0');
    console.log(`ok     ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}\n`);
  }
}
console.log(`openai ${VERSION} JavaScript: ${checks.length - failed} of ${checks.length} checks passed`);
process.exitCode = failed === 0 ? 0 : 1;
