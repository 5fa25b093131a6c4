// What members of a project may do: each role may do what those before it may.
import type { Role } from '$lib/api/types';

const RANK: Role[] = ['viewer', 'developer', 'admin', 'owner'];

export const reaches = (role: Role | undefined, need: Role): boolean =>
  role !== undefined && RANK.indexOf(role) >= RANK.indexOf(need);
