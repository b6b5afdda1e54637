// Anthropic's and Google's official JavaScript SDKs against a gateway before providers of each format:
// vendors.mjs GATEWAY UPSTREAM

import assert from 'node:assert/strict';

import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';

const [GATEWAY, UPSTREAM] = process.argv.slice(2);
const KEY = 'sesame';
const PROVIDERS = ['chat', 'claude', 'gem'];

// A fail-safe for the SDKs' own waits, not a measure.
const PATIENCE = 60_000;

const checks = [];
const check = (name, run) => checks.push({ name, run });
const equal = assert.deepEqual;

const claude = new Anthropic({ baseURL: GATEWAY, apiKey: KEY, maxRetries: 0, timeout: PATIENCE });
const gemini = new GoogleGenAI({ apiKey: KEY, httpOptions: { baseUrl: GATEWAY, timeout: PATIENCE } });

const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const messages = [{ role: 'user', content: 'hello there' }];
const message = (model, more = {}) => claude.messages.create({ model, max_tokens: 50, messages, ...more });

// The SDK puts the name into the path as it is.
const content = (model, config = {}) => ({
  model: `models/${encodeURIComponent(model)}`,
  contents: 'hello there',
  config: { maxOutputTokens: 50, ...config },
});

check('a message has text, reason and usage', async () => {
  for (const provider of PROVIDERS) {
    const answer = await message(`${provider}/sim?reply=one two three`);
    equal([answer.content[0].text, answer.stop_reason], ['one two three', 'end_turn'], provider);
    equal([answer.usage.input_tokens, answer.usage.output_tokens], [3, 3], provider);
  }
});

check('a streamed message is the whole one', async () => {
  for (const provider of PROVIDERS) {
    const model = `${provider}/sim?tokens=12`;
    const whole = await message(model);
    const final = await claude.messages.stream({ model, max_tokens: 50, messages }).finalMessage();
    equal(final.content[0].text, whole.content[0].text, provider);
    equal([final.stop_reason, final.usage.output_tokens], [whole.stop_reason, whole.usage.output_tokens], provider);
  }
});

check('messages call tools', async () => {
  const tools = [{ name: 'weather', input_schema: schema }];
  const inputs = [];
  for (const provider of PROVIDERS) {
    const answer = await message(`${provider}/sim?tool`, { tools });
    const call = answer.content.find((block) => block.type === 'tool_use');
    equal([answer.stop_reason, call.name], ['tool_use', 'weather'], provider);
    inputs.push(call.input);
  }
  equal(inputs[1], inputs[0]);
  equal(inputs[2], inputs[0]);
});

check('messages that are refused or broken raise the SDK\'s errors', async () => {
  for (const provider of PROVIDERS) {
    await assert.rejects(message(`${provider}/sim?status=429`), Anthropic.RateLimitError);
    const stream = claude.messages.stream({ model: `${provider}/sim?tokens=9,cut_after=3`, max_tokens: 50, messages });
    await assert.rejects(stream.finalMessage(), Anthropic.AnthropicError);
  }
});

check('Gemini has text, reason and usage, streamed and not', async () => {
  for (const provider of PROVIDERS) {
    const asked = content(`${provider}/sim?tokens=12`);
    const whole = await gemini.models.generateContent(asked);
    equal([whole.candidates[0].finishReason, whole.usageMetadata.candidatesTokenCount], ['STOP', 12], provider);
    let text = '';
    for await (const chunk of await gemini.models.generateContentStream(asked)) text += chunk.text ?? '';
    equal(text, whole.text, provider);
  }
});

check('Gemini calls functions', async () => {
  const tools = [{ functionDeclarations: [{ name: 'weather', parametersJsonSchema: schema }] }];
  for (const provider of PROVIDERS) {
    const answer = await gemini.models.generateContent(content(`${provider}/sim?tool`, { tools }));
    equal(answer.functionCalls.map((call) => call.name), ['weather'], provider);
  }
});

check('tokens are counted', async () => {
  for (const provider of PROVIDERS) {
    const counted = await claude.messages.countTokens({ model: `${provider}/sim`, messages });
    equal(counted.input_tokens, 3, provider);
    const { model, contents } = content(`${provider}/sim`);
    equal((await gemini.models.countTokens({ model, contents })).totalTokens, 3, provider);
  }
});

let failed = 0;
for (const { name, run } of checks) {
  try {
    await run();
    const idle = await fetch(`${UPSTREAM}/sim/stats?active=0`, { signal: AbortSignal.timeout(PATIENCE) });
    assert.equal(idle.status, 200);
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
console.log(`${checks.length} checks, ${failed} failed`);
process.exit(failed ? 1 : 0);
