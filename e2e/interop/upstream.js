// A provider of models in both dialects, as small as the SDKs allow: it answers, streams, calls tools, and stalls when it is
// asked for the model `slow`. It takes one key.
import { createServer } from 'node:http';

export const KEY = 'sk-upstream-interop';
// An answer that nobody waits for any more must not keep the tests from ending.
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref());

const chatEvents = (asked) => {
  const chunk = (delta, finish_reason = null) => ({
    id: 'c1', object: 'chat.completion.chunk', created: 1, model: asked.model, choices: [{ index: 0, delta, finish_reason }],
  });
  const call = (more) => ({ tool_calls: [{ index: 0, ...more }] });
  const events = asked.tools
    ? [
        chunk({ role: 'assistant', content: null }),
        chunk(call({ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } })),
        chunk(call({ function: { arguments: '{"city":' } })),
        chunk(call({ function: { arguments: '"Bern"}' } })),
        chunk({}, 'tool_calls'),
      ]
    : [chunk({ role: 'assistant', content: '' }), chunk({ content: 'hel' }), chunk({ content: 'lo' }), chunk({}, 'stop')];
  if (asked.stream_options?.include_usage) events.push({ ...chunk({}), choices: [], usage: chatUsage });
  return [...events.map((event) => `data: ${JSON.stringify(event)}\n\n`), 'data: [DONE]\n\n'];
};
const chatUsage = { prompt_tokens: 9, completion_tokens: 4, total_tokens: 13 };

const chat = (asked) => ({
  id: 'c1', object: 'chat.completion', created: 1, model: asked.model, usage: chatUsage,
  choices: [{
    index: 0,
    message: asked.tools
      ? { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Bern"}' } }] }
      : { role: 'assistant', content: 'hello' },
    finish_reason: asked.tools ? 'tool_calls' : 'stop',
  }],
});

const block = (asked) =>
  asked.tools ? { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Bern' } } : { type: 'text', text: 'hello' };
const message = (asked, content, usage) => ({
  id: 'msg_1', type: 'message', role: 'assistant', model: asked.model, content, stop_sequence: null,
  stop_reason: content.length ? (asked.tools ? 'tool_use' : 'end_turn') : null, usage,
});
const messageEvents = (asked) =>
  [
    { type: 'message_start', message: message(asked, [], { input_tokens: 9, output_tokens: 1 }) },
    asked.tools
      ? { type: 'content_block_start', index: 0, content_block: { ...block(asked), input: {} } }
      : { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    ...(asked.tools ? ['{"city":', '"Bern"}'] : ['hel', 'lo']).map((piece) => ({
      type: 'content_block_delta', index: 0,
      delta: asked.tools ? { type: 'input_json_delta', partial_json: piece } : { type: 'text_delta', text: piece },
    })),
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: asked.tools ? 'tool_use' : 'end_turn', stop_sequence: null }, usage: { output_tokens: 4 } },
    { type: 'message_stop' },
  ].map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);

/** Starts it; `open()` counts streams that somebody still reads. */
export async function startUpstream() {
  let open = 0;
  const server = createServer(async (request, response) => {
    const json = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.headers.authorization !== `Bearer ${KEY}` && request.headers['x-api-key'] !== KEY) {
      return json(401, { error: { message: 'wrong key' } });
    }
    if (request.url.startsWith('/v1/models')) return json(200, { object: 'list', data: [{ id: 'm' }, { id: 'slow' }] });
    const asked = JSON.parse(Buffer.concat(chunks));
    const anthropic = request.url.startsWith('/v1/messages');
    if (request.url.endsWith('/count_tokens')) return json(200, { input_tokens: 7 });
    if (request.url.endsWith('/embeddings')) {
      const data = [{ object: 'embedding', index: 0, embedding: [0.5, -0.5] }];
      return json(200, { object: 'list', model: asked.model, data, usage: { prompt_tokens: 3, total_tokens: 3 } });
    }
    if (!asked.stream) {
      return json(200, anthropic ? message(asked, [block(asked)], { input_tokens: 9, output_tokens: 4 }) : chat(asked));
    }
    open += 1;
    response.on('close', () => (open -= 1));
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const events = anthropic ? messageEvents(asked) : chatEvents(asked);
    for (const [at, event] of events.entries()) {
      if (asked.model === 'slow' && at === events.length - 3) await sleep(60_000);
      response.write(event);
      await sleep(1);
    }
    return response.end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, open: () => open, close };
}
