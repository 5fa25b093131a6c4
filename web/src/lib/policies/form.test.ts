import { expect, test } from 'vitest';
import { empty, rule } from './form';

test('what was left empty is left out', () => {
  expect(rule({ ...empty('project'), hosts: 'a.test, *.b.test\nc.test' }, 'team')).toEqual({
    level: 'project',
    project: 'team',
    effect: 'allow',
    action: 'egress.*',
    resources: { hosts: ['a.test', '*.b.test', 'c.test'] },
    conditions: {},
  });
  expect(rule(empty('system'), 'team')).not.toHaveProperty('project');
});

test('what does not belong to the action is not said', () => {
  const typed = { ...empty('instance'), instance: 'claw', hosts: 'a.test', methods: 'get', names: 'x' };
  expect(rule({ ...typed, action: 'egress.connect' }).resources).toEqual({ hosts: ['a.test'] });
  expect(rule({ ...typed, action: 'egress.request' }).resources).toEqual({
    hosts: ['a.test'],
    methods: ['GET'],
  });
  expect(rule({ ...typed, action: 'git.push' }).resources).toEqual({ names: ['x'] });
  expect(rule({ ...typed, action: 'git.push' }).instance).toBe('claw');
});

test('conditions', () => {
  const until = '2026-11-22T10:00';
  expect(rule({ ...empty('system'), until, tainted: true }).conditions).toEqual({
    until: new Date(until).getTime(),
    tainted: true,
  });
});
