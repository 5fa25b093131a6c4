// Streams of the API. `read` follows one answer to its end; `live` keeps one open for as long as its page is looked at.
import { type Call, Refused, send } from './client';
import { type Message, Parser } from './sse';

/** Follows one answer to its end. Throws when it cannot be had or breaks off. */
export async function read(path: string, request: Call, tell: (message: Message) => void): Promise<void> {
  const headers = { ...request.headers, accept: 'text/event-stream' };
  const response = await send(path, { ...request, headers });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new Parser();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const message of parser.feed(value)) tell(message);
  }
}

export type Connection = 'connecting' | 'open' | 'reconnecting' | 'ended';

export interface Live {
  /** The path to ask for, anew at each connection: it may say from where on. */
  path: () => string;
  message: (message: Message) => void;
  connection?: (now: Connection, error?: unknown) => void;
  /** Whether an answer that ended by itself is begun again. */
  again: boolean;
}

const SLOWEST = 15_000;
/** The server says something every 3 s; silence means that the connection is dead without knowing it. */
const SILENCE = 12_000;

/**
 * Keeps a stream open until the returned function is called: begins again after a failure, ever more slowly, with the
 * last id that it saw. A page that is not looked at holds no connection, because browsers allow six in all.
 */
export function live({ path, message, connection, again }: Live): () => void {
  let stopped = false;
  let lastId = '';
  let abort = new AbortController();
  let wake = () => {};
  const say = (now: Connection, error?: unknown) => !stopped && connection?.(now, error);

  const visibility = () => {
    if (document.hidden) abort.abort();
    else wake();
  };
  const online = () => wake();
  document.addEventListener('visibilitychange', visibility);
  addEventListener('online', online);

  const pause = (milliseconds: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = () => (clearTimeout(timer), resolve());
    });

  void (async () => {
    let wait = 500;
    say('connecting');
    while (!stopped) {
      if (document.hidden) {
        await pause(2 ** 31 - 1);
        continue;
      }
      abort = new AbortController();
      let silence = setTimeout(() => abort.abort(), SILENCE);
      try {
        const response = await send(path(), {
          headers: { accept: 'text/event-stream', ...(lastId ? { 'last-event-id': lastId } : {}) },
          signal: abort.signal,
        });
        const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
        const parser = new Parser();
        say('open');
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          wait = 500;
          clearTimeout(silence);
          silence = setTimeout(() => abort.abort(), SILENCE);
          for (const one of parser.feed(value)) {
            if (stopped) return;
            lastId = one.id || lastId;
            message(one);
          }
        }
        if (!again) {
          say('ended');
          return;
        }
      } catch (error) {
        // What was refused for good is not asked for again and again.
        if (error instanceof Refused && error.status < 500 && error.status !== 429) {
          say('ended', error);
          return;
        }
      } finally {
        clearTimeout(silence);
      }
      if (stopped || document.hidden) continue;
      say('reconnecting');
      await pause(wait);
      wait = Math.min(wait * 2, SLOWEST);
    }
  })();

  return () => {
    stopped = true;
    abort.abort();
    wake();
    document.removeEventListener('visibilitychange', visibility);
    removeEventListener('online', online);
  };
}
