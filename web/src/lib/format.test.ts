import { expect, test } from 'vitest';
import { ago, bytes, localPath, percent } from './format';

test('bytes', () => {
  expect([0, 1023, 1024, 64 * 2 ** 20, 1.5 * 2 ** 30, 200 * 2 ** 30].map(bytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '64.0 MiB',
    '1.5 GiB',
    '200 GiB',
  ]);
  expect([0.04, 9.94, 123.4].map(percent)).toEqual(['0.0 %', '9.9 %', '123 %']);
});

test('times from now', () => {
  const now = 1_000_000_000;
  expect(ago(now - 2000, now)).toBe('just now');
  expect(ago(now - 59_000, now)).toBe('59 seconds ago');
  expect(ago(now - 119_000, now)).toBe('1 minute ago');
  expect(ago(now + 90 * 86_400_000 - 2000, now)).toBe('in 90 days');
  expect(ago(now + 3 * 86_400_000, now)).toBe('in 3 days');
});

test('only our own paths are returned to', () => {
  expect(localPath('/v1/gateway/authorize?instance=a&return=http://a.localhost/')).toBe(
    '/v1/gateway/authorize?instance=a&return=http://a.localhost/',
  );
  for (const bad of [
    null,
    '',
    'https://evil.example',
    '//evil.example',
    '/\\evil.example',
    '/a\r\nb',
    '/ä',
  ]) {
    expect(localPath(bad)).toBe('/');
  }
});
