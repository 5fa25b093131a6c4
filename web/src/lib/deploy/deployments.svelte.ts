// A project's deployments, kept up to date by the stream of events, and by a timer in case that stream is broken.
import { first, words } from '$lib/api/client';
import { Looks } from '$lib/api/looks';
import { live } from '$lib/api/stream';
import type { Deployment } from '$lib/api/types';
import { over } from './state';

const SOON = 150;
const BUSY = 3000;
const QUIET = 60_000;
const PAGE = 50;

export class Deployments {
  items = $state.raw<Deployment[]>();
  problem = $state<string>();
  /** How many are asked for; grows when older ones are wanted. */
  #wanted = PAGE;
  more = $state(false);

  #looks = new Looks(() => this.#look());
  #stopStream = () => {};

  constructor(
    private readonly path: string,
    private readonly project: string,
  ) {}

  start() {
    this.#looks.soon(0);
    this.#stopStream = live({
      path: () => `/v1/events?kind=deployment.&project=${encodeURIComponent(this.project)}`,
      again: true,
      message: () => this.#looks.soon(SOON),
      connection: (now) => now !== 'connecting' && this.#looks.soon(SOON),
    });
  }

  stop() {
    this.#looks.stop();
    this.#stopStream();
  }

  older() {
    this.#wanted += PAGE;
    return this.refresh();
  }

  refresh = () => this.#looks.now();

  async #look() {
    try {
      const found = await first<Deployment>(`${this.path}/deployments`, this.#wanted);
      [this.items, this.more, this.problem] = [found.items, found.more, undefined];
    } catch (error) {
      this.problem = words(error);
    }
    return this.items?.every(over) ? QUIET : BUSY;
  }
}
