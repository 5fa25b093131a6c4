// The genuine SDKs of OpenAI and Anthropic against the model gateway, with a provider of each dialect behind it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { Server } from './server.js';
import { KEY, startUpstream } from './upstream.js';

let server, upstream, openai, anthropic;
const MODELS = ['open/m', 'anth/m'];
const hi = [{ role: 'user', content: 'hi' }];
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const chatTools = [{ type: 'function', function: { name: 'weather', description: 'Weather', parameters: schema } }];
const messageTools = [{ name: 'weather', description: 'Weather', input_schema: schema }];

before(async () => {
  upstream = await startUpstream();
  server = await Server.start();
  for (const [name, kind, path] of [['open', 'openai', '/v1'], ['anth', 'anthropic', '']]) {
    const made = await server.call('POST', '/v1/providers', { name, kind, base_url: upstream.url + path, key: KEY });
    assert.equal(made.body.problem, null, JSON.stringify(made.body));
  }
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: server.token, maxRetries: 0 });
  anthropic = new Anthropic({ baseURL: server.url, apiKey: server.token, maxRetries: 0 });
});
after(async () => {
  await server?.remove();
  upstream?.close();
});

test('openai: models, embeddings, errors', async () => {
  const names = [];
  for await (const model of openai.models.list()) names.push(model.id);
  assert.deepEqual(names, ['m', 'slow']);
  assert.equal((await openai.models.retrieve('m')).id, 'm');
  const embedded = await openai.embeddings.create({ model: 'open/m', input: 'x', encoding_format: 'float' });
  assert.deepEqual(embedded.data[0].embedding, [0.5, -0.5]);
  await assert.rejects(openai.chat.completions.create({ model: 'none', messages: hi }), OpenAI.NotFoundError);
  const bad = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'wrong', maxRetries: 0 });
  await assert.rejects(bad.models.list(), OpenAI.AuthenticationError);
  const lie = openai.chat.completions.create({ model: 'anth/m', messages: hi, logprobs: true });
  await assert.rejects(lie, (error) => error instanceof OpenAI.BadRequestError && error.param === 'logprobs');
});

for (const model of MODELS) {
  test(`openai: chat completions of ${model}`, async () => {
    const whole = await openai.chat.completions.create({ model, messages: hi });
    assert.equal(whole.choices[0].message.content, 'hello');
    assert.deepEqual([whole.usage.prompt_tokens, whole.usage.completion_tokens], [9, 4]);
    const stream = openai.chat.completions.stream({ model, messages: hi, stream_options: { include_usage: true } });
    const final = await stream.finalChatCompletion();
    assert.deepEqual([final.choices[0].message.content, final.usage.total_tokens], ['hello', 13]);
    const tools = openai.chat.completions.stream({ model, messages: hi, tools: chatTools });
    const call = (await tools.finalChatCompletion()).choices[0].message.tool_calls[0];
    assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ['weather', { city: 'Bern' }]);
    const result = { role: 'tool', tool_call_id: call.id, content: 'sun' };
    const spoken = { role: 'assistant', content: null, tool_calls: [call] };
    const next = await openai.chat.completions.create({ model, messages: [...hi, spoken, result] });
    assert.equal(next.choices[0].finish_reason, 'stop');
  });

  test(`openai: responses of ${model}`, async () => {
    const whole = await openai.responses.create({ model, input: 'hi', instructions: 'be brief' });
    assert.deepEqual([whole.output_text, whole.status, whole.usage.total_tokens], ['hello', 'completed', 13]);
    const stream = openai.responses.stream({ model, input: 'hi' });
    let text = '';
    stream.on('response.output_text.delta', (event) => (text += event.delta));
    assert.equal((await stream.finalResponse()).output_text, 'hello');
    assert.equal(text, 'hello');
    const tools = [{ type: 'function', name: 'weather', parameters: schema, strict: false }];
    const asked = await openai.responses.stream({ model, input: 'hi', tools }).finalResponse();
    const call = asked.output.find((item) => item.type === 'function_call');
    assert.deepEqual([call.name, JSON.parse(call.arguments)], ['weather', { city: 'Bern' }]);
    const input = [...hi, ...asked.output, { type: 'function_call_output', call_id: call.call_id, output: 'sun' }];
    assert.equal((await openai.responses.create({ model, input })).output_text, 'hello');
    const kept = openai.responses.create({ model, input: 'hi', previous_response_id: 'resp_1' });
    await assert.rejects(kept, (error) => error.param === 'previous_response_id');
  });

  test(`anthropic: messages of ${model}`, async () => {
    const ask = { model, max_tokens: 100, messages: hi };
    const whole = await anthropic.messages.create({ ...ask, system: 'be brief' });
    assert.deepEqual([whole.content[0].text, whole.stop_reason], ['hello', 'end_turn']);
    assert.deepEqual([whole.usage.input_tokens, whole.usage.output_tokens], [9, 4]);
    const final = await anthropic.messages.stream(ask).finalMessage();
    assert.deepEqual([final.content[0].text, final.usage.output_tokens], ['hello', 4]);
    const called = await anthropic.messages.stream({ ...ask, tools: messageTools }).finalMessage();
    const use = called.content.find((block) => block.type === 'tool_use');
    assert.deepEqual([use.name, use.input, called.stop_reason], ['weather', { city: 'Bern' }, 'tool_use']);
    const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: 'sun' }] };
    const next = await anthropic.messages.create({ ...ask, messages: [...hi, { role: 'assistant', content: called.content }, result] });
    assert.equal(next.content[0].text, 'hello');
    assert.ok((await anthropic.messages.countTokens({ model, messages: hi })).input_tokens > 0);
  });

  test(`both: a client that aborts ends the provider's work (${model})`, async () => {
    const slow = model.replace('/m', '/slow');
    const stream = await openai.chat.completions.create({ model: slow, messages: hi, stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
    const other = anthropic.messages.stream({ model: slow, max_tokens: 5, messages: hi });
    await new Promise((resolve) => other.on('text', resolve));
    other.abort();
    await assert.rejects(other.done(), Anthropic.APIUserAbortError);
    for (let tries = 0; upstream.open() > 0; tries += 1) {
      assert.ok(tries < 100, `${upstream.open()} streams are still open`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
}

test('anthropic: models and errors', async () => {
  const names = [];
  for await (const model of anthropic.models.list()) names.push(model.id);
  assert.deepEqual(names, ['m', 'slow']);
  const bad = new Anthropic({ baseURL: server.url, apiKey: 'wrong', maxRetries: 0 });
  await assert.rejects(bad.models.list(), Anthropic.AuthenticationError);
  const lie = anthropic.messages.create({ model: 'open/m', max_tokens: 5, top_k: 3, messages: hi });
  await assert.rejects(lie, (error) => error instanceof Anthropic.BadRequestError && /top_k/.test(error.message));
});

test('budgets are told as the SDKs know them', async () => {
  const budget = (amount) => server.call('PUT', '/v1/projects/operator/model-budgets', { unit: 'tokens', period: 'day', amount });
  await budget(0);
  await assert.rejects(openai.chat.completions.create({ model: 'open/m', messages: hi }), OpenAI.RateLimitError);
  const ask = { model: 'anth/m', max_tokens: 5, messages: hi };
  await assert.rejects(anthropic.messages.create(ask), Anthropic.RateLimitError);
  await budget(null);
  assert.equal((await anthropic.messages.create(ask)).content[0].text, 'hello');
});

test('the SDKs of Python', { skip: process.env.MODELS_PYTHON ? false : 'MODELS_PYTHON names no interpreter' }, async () => {
  const environment = { ...process.env, MODELS_URL: server.url, MODELS_TOKEN: server.token };
  await promisify(execFile)(process.env.MODELS_PYTHON, ['models.py'], { env: environment, timeout: 60_000 });
});

test('what was spent is listed', async () => {
  const out = await server.command('models', 'usage', 'operator');
  assert.match(out, /open\/m/);
  assert.match(await server.command('models', 'ls'), /slow/);
  assert.match(await server.command('providers', 'show', 'open'), /offered/);
});
