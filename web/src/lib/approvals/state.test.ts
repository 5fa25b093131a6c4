import { expect, test } from 'vitest';
import type { PolicyLevel, Role } from '$lib/api/types';
import { mayAnswer } from './state';

test('whoever could write the rule answers', () => {
  const answered = (level: PolicyLevel) =>
    ([undefined, 'viewer', 'developer', 'admin', 'owner'] as (Role | undefined)[]).filter((role) =>
      mayAnswer({ level }, role, false),
    );
  expect(answered('system')).toEqual([]);
  expect(answered('project')).toEqual(['admin', 'owner']);
  expect(answered('instance')).toEqual(['developer', 'admin', 'owner']);
  for (const level of ['system', 'project', 'instance'] as const)
    expect(mayAnswer({ level }, undefined, true), level).toBe(true);
});
