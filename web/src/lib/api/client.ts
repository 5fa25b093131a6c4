// Calls of the HTTP API, by the session's cookie. A refusal is thrown as `Refused`, which holds the problem document.
import type { Page, Problem } from './types';

export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }

  get status() {
    return this.problem.status;
  }
}

export interface Call {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Told when a call is refused for want of a session: the page goes to the sign-in page. */
export const onSignedOut: { tell: () => void } = { tell: () => {} };

/** What an answer that is no success says, whatever its shape. */
export async function refusal(response: Response): Promise<Refused> {
  const problem: unknown = await response.json().catch(() => undefined);
  if (response.status === 401) onSignedOut.tell();
  if (typeof problem === 'object' && problem !== null && 'detail' in problem) {
    return new Refused(problem as Problem);
  }
  const detail = `the server answered ${response.status} ${response.statusText}`.trim();
  return new Refused({ type: 'about:blank', title: '', status: response.status, code: 'internal', detail });
}

/** One request; the answer's body is the caller's to read. */
export async function send(path: string, { method, body, headers, signal }: Call = {}): Promise<Response> {
  const json = body !== undefined && !(body instanceof Blob);
  const response = await fetch(path, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: { ...(json ? { 'content-type': 'application/json' } : {}), ...headers },
    body: json ? JSON.stringify(body) : (body as Blob | undefined),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function call<T>(path: string, request: Call = {}): Promise<T> {
  const response = await send(path, request);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

type Query = Record<string, string>;

/** The first items of a list, at most so many, page by page; and whether there are more. */
export async function first<T>(path: string, most: number, wanted: Query = {}) {
  const items: T[] = [];
  let after: string | null | undefined;
  do {
    const limit = String(Math.min(most - items.length, 500));
    const query = new URLSearchParams({ ...wanted, limit, ...(after ? { after } : {}) });
    const page = await call<Page<T>>(`${path}?${query}`);
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < most);
  return { items, more: Boolean(after) };
}

/** Every item of a list. */
export const all = async <T>(path: string, wanted?: Query): Promise<T[]> =>
  (await first<T>(path, 20_000, wanted)).items;

/** What to show a person when something did not work. */
export function words(error: unknown): string {
  if (error instanceof Refused) return error.message;
  if (error instanceof TypeError) return 'The server does not answer.';
  return error instanceof Error ? error.message : String(error);
}
