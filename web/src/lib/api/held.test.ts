import { afterEach, expect, test, vi } from 'vitest';
import { first } from './client';
import { Held } from './held.svelte';

afterEach(() => void vi.unstubAllGlobals());

/** Answers that come when the test says so. */
function asked() {
  const waiting: { give: (value: string) => void; refuse: (error: Error) => void }[] = [];
  const held = new Held(() => new Promise<string>((give, refuse) => waiting.push({ give, refuse })));
  return { held, waiting };
}

test('an answer that was overtaken is not shown, be it good or bad', async () => {
  const { held, waiting } = asked();
  const both = Promise.all([held.load(), held.load()]);
  waiting[1]!.give('new');
  waiting[0]!.give('old');
  await both;
  expect([held.value, held.problem]).toEqual(['new', undefined]);
  const again = Promise.all([held.load(), held.load()]);
  waiting[2]!.refuse(new Error('too late'));
  waiting[3]!.give('newer');
  await again;
  expect([held.value, held.problem]).toEqual(['newer', undefined]);
});

test('what was there stays when it cannot be had, and the problem goes when it can', async () => {
  const { held, waiting } = asked();
  const load = held.load();
  waiting[0]!.give('here');
  await load;
  const failed = held.load();
  waiting[1]!.refuse(new Error('gone'));
  await failed;
  expect([held.value, held.problem]).toEqual(['here', 'gone']);
  const better = held.load();
  waiting[2]!.give('here again');
  await better;
  expect([held.value, held.problem]).toEqual(['here again', undefined]);
});

/** A list of so many items in the server; says what was asked for. */
function server(count: number) {
  const paths: string[] = [];
  vi.stubGlobal('fetch', async (path: string) => {
    paths.push(path);
    const query = new URL(path, 'http://localhost').searchParams;
    const begin = Number(query.get('after') ?? 0);
    const end = Math.min(begin + Number(query.get('limit')), count);
    const items = Array.from({ length: end - begin }, (_, at) => begin + at);
    return Response.json({ items, next: end < count ? String(end) : undefined });
  });
  return paths;
}

test('no more is asked for than is wanted, and whether there is more is known', async () => {
  const paths = server(1200);
  const some = await first<number>('/v1/things', 700, { kind: 'tea' });
  expect([some.items.length, some.items.at(-1), some.more]).toEqual([700, 699, true]);
  expect(paths).toEqual(['/v1/things?kind=tea&limit=500', '/v1/things?kind=tea&limit=200&after=500']);
  const whole = await first<number>('/v1/things', 5000);
  expect([whole.items.length, whole.more]).toEqual([1200, false]);
});
