import { expect, test } from 'vitest';
import { built, KINDS, type KindName, said } from './kinds';

test('a kind holds what it asks for and nothing else', () => {
  const given = { username: ' ada ', name: 'x-key', prefix: 'Token ', scope: '' };
  expect(built('basic', given)).toEqual({ type: 'basic', username: 'ada' });
  expect(built('header', given)).toEqual({ type: 'header', name: 'x-key', prefix: 'Token ' });
  expect(built('bearer', given, true)).toEqual({ type: 'bearer' });
  expect(built('placeholder', given, true)).toEqual({ type: 'placeholder', body: true });
  expect(built('oauth_client', { token_url: 'https://a.test/t', client_id: 'c', scope: ' ' })).toEqual({
    type: 'oauth_client',
    token_url: 'https://a.test/t',
    client_id: 'c',
  });
});

test('every kind has words', () => {
  for (const type of Object.keys(KINDS) as KindName[]) {
    const given = Object.fromEntries(KINDS[type].asks.map(({ name }) => [name, 'tea']));
    expect(said(built(type, given)), type).toMatch(/\w/);
  }
});
