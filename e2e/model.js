// A model that needs no money and no internet: the OpenAI API as far as agents use it (chat completions, plain and
// streamed, and the list of models), for tests. Its answer proves that the message arrived: to a message with
// `ping-WORD` in it, it says `pong-` and the word backwards, so that an echo of the page itself does not count.
//   node e2e/model.js ADDRESS      prints the port, which the system chose, and serves until it is ended
import { createServer } from 'node:http';

const KEY = process.env.FAKE_MODEL_KEY;
const MODEL = 'fake-1';
const MAX_BODY = 32 * 1024 * 1024;

/** The text of a message, whose content is a string or parts. */
function text(message) {
  const { content } = message;
  if (typeof content === 'string') return content;
  return Array.isArray(content) ? content.map((part) => part.text ?? '').join('\n') : '';
}

function answer(messages) {
  const asked = messages.filter((message) => message.role === 'user').map(text);
  // The last of all: some agents say more after what their user said.
  const pings = asked.join('\n').match(/ping-[a-z0-9]+/g);
  if (!pings) return 'I am a fake model. Say ping-WORD.';
  return `pong-${[...pings.at(-1).slice('ping-'.length)].reverse().join('')}`;
}

function complete(request, response) {
  const said = answer(request.messages ?? []);
  const about = { id: 'chatcmpl-1', created: 0, model: request.model ?? MODEL };
  const usage = { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 };
  if (!request.stream) {
    const choice = { index: 0, message: { role: 'assistant', content: said }, finish_reason: 'stop' };
    return json(response, 200, { ...about, object: 'chat.completion', choices: [choice], usage });
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  const send = (delta, finish_reason = null, more = {}) => {
    const chunk = { ...about, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }], ...more };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  send({ role: 'assistant', content: '' });
  // In two pieces, as streams come.
  send({ content: said.slice(0, 3) });
  send({ content: said.slice(3) });
  send({}, 'stop', { usage });
  response.end('data: [DONE]\n\n');
}

function json(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk) => {
    body += chunk;
    if (body.length > MAX_BODY) request.destroy();
  });
  request.on('end', () => {
    if (process.env.FAKE_MODEL_LOG) console.error(`${request.method} ${request.url} ${body.length}`);
    if (KEY && request.headers.authorization !== `Bearer ${KEY}`) {
      return json(response, 401, { error: { message: 'wrong key', type: 'invalid_request_error' } });
    }
    if (request.url.endsWith('/models')) {
      return json(response, 200, { object: 'list', data: [{ id: MODEL, object: 'model', owned_by: 'ryokan' }] });
    }
    if (request.method === 'POST' && request.url.endsWith('/chat/completions')) {
      try {
        return complete(JSON.parse(body), response);
      } catch (error) {
        return json(response, 400, { error: { message: String(error), type: 'invalid_request_error' } });
      }
    }
    return json(response, 404, { error: { message: `no ${request.url} here`, type: 'invalid_request_error' } });
  });
});

server.listen(Number(process.env.FAKE_MODEL_PORT ?? 0), process.argv[2] ?? '127.0.0.1', () => {
  console.log(server.address().port);
});
