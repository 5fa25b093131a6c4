import { expect, test } from 'vitest';
import { Due } from './due';

test('many events about a few instances are a few looks', () => {
  const due = new Due();
  for (const id of ['a', 'b', 'a', 'a']) due.add(id);
  expect(due.take()).toEqual(['a', 'b']);
  expect(due.empty).toBe(true);
  expect(due.take()).toEqual([]);
});

test('events about many, or about nothing known, are one look at all', () => {
  const due = new Due();
  for (let n = 0; n < 9; n++) due.add(String(n));
  expect(due.take()).toBe('all');
  due.add('a');
  due.add();
  expect(due.take()).toBe('all');
  expect(due.empty).toBe(true);
});
