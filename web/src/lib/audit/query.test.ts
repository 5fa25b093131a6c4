import { expect, test } from 'vitest';
import type { AuditEntry } from '$lib/api/types';
import { merged, queries, type Wanted } from './query';

const wanted: Wanted = {
  action: '',
  decision: '',
  instance: '',
  user: '',
  resource: '',
  span: 0,
};

test('what is empty is not asked for', () => {
  expect(queries(wanted, 9)).toEqual([{}]);
  expect(queries({ ...wanted, project: 'team', resource: ' GET ', span: 4 }, 9)).toEqual([
    { project: 'team', resource: 'GET', since: '5' },
  ]);
});

test('egress is two actions', () => {
  const asked = queries({ ...wanted, action: 'egress', decision: 'deny' }, 9);
  expect(asked).toEqual([
    { decision: 'deny', action: 'egress.request' },
    { decision: 'deny', action: 'egress.connect' },
  ]);
});

test('two answers are one, the newest first', () => {
  const page = (more: boolean, ...times: number[]) => ({
    items: times.map((at) => ({ id: `id-${at}`, at }) as AuditEntry),
    more,
  });
  const times = (most: number, ...pages: ReturnType<typeof page>[]) => {
    const { items, more } = merged(pages, most);
    return [items.map((one) => one.at), more];
  };
  expect(times(3, page(false, 9, 5), page(false, 8, 1))).toEqual([[9, 8, 5], true]);
  expect(times(4, page(false, 9, 5), page(false, 8, 1))).toEqual([[9, 8, 5, 1], false]);
  expect(times(4, page(false), page(true, 2))).toEqual([[2], true]);
});
