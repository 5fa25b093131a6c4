// The project whose pages are open, shared by all of them.
import { getContext, setContext } from 'svelte';
import { call, Refused, words } from '$lib/api/client';
import { Looks } from '$lib/api/looks';
import type { Balance, Project, Role } from '$lib/api/types';
import { reaches } from './roles';

/** How often the balance is looked at, and how often while nothing runs for want of money. */
const CALM = 15_000;
const SUSPENDED = 3000;

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
    return reaches(this.project?.role, role);
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

  /** Keeps the balance right until the returned function is called: what suspends a project may happen at any time. */
  watch(): () => void {
    const looks = new Looks(async () => {
      // What could not be had now is had the next time.
      if (!document.hidden && this.project) await this.stand().catch(() => {});
      return this.balance?.suspended_for ? SUSPENDED : CALM;
    });
    looks.soon(CALM);
    return () => looks.stop();
  }
}

const KEY = Symbol('project');
export const opened = {
  set: (one: Opened) => setContext(KEY, one),
  get: () => getContext<Opened>(KEY),
};
