// The project whose pages are open, shared by all of them.
import { getContext, setContext } from 'svelte';
import { call, Refused, words } from '$lib/api/client';
import type { Balance, Project, Role } from '$lib/api/types';

const RANK: Role[] = ['viewer', 'developer', 'admin', 'owner'];

export class Opened {
  project = $state<Project>();
  balance = $state.raw<Balance>();
  problem = $state<string>();
  gone = $state(false);

  constructor(readonly name: string) {}

  /** Its address in the API. */
  get path() {
    return `/v1/projects/${encodeURIComponent(this.name)}`;
  }

  /** Whether the person may do what the role may. */
  may(role: Role): boolean {
    return this.project !== undefined && RANK.indexOf(this.project.role) >= RANK.indexOf(role);
  }

  async load() {
    try {
      this.project = await call<Project>(this.path);
      await this.stand();
    } catch (error) {
      this.gone = error instanceof Refused && error.status === 404;
      this.problem = words(error);
    }
  }

  /** Looks at the balance again. */
  async stand() {
    this.balance = await call<Balance>(`${this.path}/balance`);
  }
}

const KEY = Symbol('project');
export const opened = {
  set: (one: Opened) => setContext(KEY, one),
  get: () => getContext<Opened>(KEY),
};
