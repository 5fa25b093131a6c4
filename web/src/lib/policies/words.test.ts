import { expect, test } from 'vitest';
import type { Rule } from '$lib/api/types';
import { networked, PATTERNS } from './actions';
import { conditions, named, resources } from './words';

const about = (resources: object) => ({ resources }) as Pick<Rule, 'resources'>;

test('what a rule is about, and everything when it says nothing', () => {
  expect(resources(about({}))).toBe('everything');
  expect(resources(about({ hosts: [], methods: ['GET'], paths: ['/a', '/b'] }))).toBe('GET · /a, /b');
  expect(resources(about({ hosts: ['*.test'], ports: ['443'] }))).toBe('*.test · port 443');
});

test('subjects have names where they are known', () => {
  const names = new Map([['id-1', 'claw']]);
  expect(named('everybody', names)).toBe('everybody');
  expect(named('instance:id-1', names)).toBe('instance claw');
  expect(named('user:id-2', names)).toBe('user id-2');
});

test('conditions in words', () => {
  const none: Rule['conditions'] = { budget: null, tainted: null, until: null, window: null };
  expect(conditions({ conditions: none })).toBe('');
  const window = { days: [], from: '22:00', to: '06:00', zone: 'UTC' };
  expect(conditions({ conditions: { ...none, window, tainted: true } })).toBe(
    '22:00 to 06:00 (UTC); once it has read what nobody vouches for',
  );
});

test('hosts are for what goes out', () => {
  expect(PATTERNS.filter(networked)).toEqual([
    'egress.*',
    'web.*',
    '*',
    'egress.request',
    'egress.connect',
    'web.fetch',
  ]);
});
