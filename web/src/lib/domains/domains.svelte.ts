// The domains of one instance, kept up to date: its page says when an event came, and what no event tells is looked for
// when it is due.
import { all, call, words } from '$lib/api/client';
import { Looks } from '$lib/api/looks';
import type { Domain } from '$lib/api/types';
import { again } from './state';

const SOON = 80;
const WITHOUT_ANSWER = 5000;

export class Domains {
  items = $state.raw<Domain[]>();
  problem = $state<string>();
  #looks = new Looks(() => this.#look());

  /** `instance` is its address in the API. */
  constructor(private readonly instance: string) {}

  start() {
    this.#looks.soon(0);
  }

  stop() {
    this.#looks.stop();
  }

  /** Something may have happened to them. */
  look() {
    this.#looks.soon(SOON);
  }

  /** The same domain again begins anew when it had failed. */
  async add(domain: string) {
    await call(`${this.instance}/domains`, { body: { domain } });
    await this.#looks.now();
  }

  async check(domain: string) {
    await call(`${this.#of(domain)}/check`, { method: 'POST' });
    await this.#looks.now();
  }

  async remove(domain: string) {
    await call(this.#of(domain), { method: 'DELETE' });
    await this.#looks.now();
  }

  #of(domain: string) {
    return `${this.instance}/domains/${encodeURIComponent(domain)}`;
  }

  async #look() {
    try {
      this.items = await all<Domain>(`${this.instance}/domains`);
      this.problem = undefined;
      return again(this.items, Date.now());
    } catch (error) {
      this.problem = words(error);
      return WITHOUT_ANSWER;
    }
  }
}
