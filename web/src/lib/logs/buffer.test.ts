import { expect, test } from 'vitest';
import { LogBuffer, MOST, plain } from './buffer';

const line = (at: number, text: string) => ({ at, text, stream: 'stdout' });
const texts = (buffer: LogBuffer) => buffer.lines.map((one) => one.text);

test('a stream that is taken up again doubles nothing and loses nothing', () => {
  const buffer = new LogBuffer();
  for (const one of [line(1, 'a'), line(2, 'b'), line(2, 'c')]) buffer.add(one);
  expect(buffer.since).toBe(2);
  buffer.resumed();
  for (const one of [line(2, 'b'), line(2, 'c'), line(2, 'd'), line(3, 'e')]) buffer.add(one);
  expect(texts(buffer)).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('a new log that begins later is not mistaken for the old one', () => {
  const buffer = new LogBuffer();
  buffer.add(line(2, 'a'));
  buffer.resumed();
  buffer.add(line(5, 'b'));
  buffer.add(line(5, 'c'));
  expect(texts(buffer)).toEqual(['a', 'b', 'c']);
});

test('memory is bounded', () => {
  const buffer = new LogBuffer();
  for (let at = 1; at <= 3 * MOST; at++) buffer.add(line(at, String(at)));
  expect([texts(buffer).length, texts(buffer).at(-1)]).toEqual([MOST, String(3 * MOST)]);
});

test('escape sequences are left out', () => {
  expect(plain('\x1b[1;32mgreen\x1b[0m \x1b]0;title\x07and\x1b[2K done')).toBe('green and done');
});
