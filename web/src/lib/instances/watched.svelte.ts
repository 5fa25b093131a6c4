// One instance, kept up to date: by the stream of its events, and by timers in case that stream is broken.
import { getContext, setContext } from 'svelte';
import { call, Refused, words } from '$lib/api/client';
import { Looks } from '$lib/api/looks';
import { live } from '$lib/api/stream';
import type { Event, Instance, Page } from '$lib/api/types';
import { merge } from '$lib/events/merge';
import { moving } from './state';

const SOON = 80;

export class Watched {
  instance = $state<Instance>();
  events = $state.raw<Event[]>([]);
  connected = $state(true);
  problem = $state<string>();
  gone = $state(false);

  #looks = new Looks(() => this.#look());
  #stopStream = () => {};
  #stopped = false;

  constructor(readonly name: string) {}

  get path() {
    return `/v1/instances/${encodeURIComponent(this.name)}`;
  }

  async start() {
    this.#looks.soon(0);
    // What happened until now, newest first; the stream goes on from there.
    const page = await call<Page<Event>>(`${this.path}/events?order=desc&limit=200`).catch(() => undefined);
    this.events = page?.items ?? [];
    if (this.#stopped || this.gone) return;
    this.#stopStream = live({
      path: () => `${this.path}/events?after=${this.events[0]?.seq ?? 0}`,
      again: true,
      message: (message) => {
        const event = JSON.parse(message.data) as Event;
        this.events = merge(this.events, event);
        if (event.kind === 'instance.deleted' && event.subject_id === this.instance?.id) this.gone = true;
        else this.#looks.soon(SOON);
      },
      connection: (now, error) => {
        this.connected = now === 'open' || now === 'connecting';
        if (now !== 'connecting') this.#looks.soon(SOON);
        if (error instanceof Refused && error.status === 404) this.gone = true;
      },
    });
  }

  stop() {
    this.#stopped = true;
    this.#looks.stop();
    this.#stopStream();
  }

  refresh = () => this.#looks.now();

  async #look() {
    try {
      const found = await call<Instance>(this.path);
      // Deleted, and made anew under the same name: another one's story.
      if (this.instance && this.instance.id !== found.id) this.gone = true;
      else this.instance = found;
      this.problem = undefined;
    } catch (error) {
      if (error instanceof Refused && error.status === 404) this.gone = true;
      else this.problem = words(error);
    }
    if (this.gone) return;
    // A message may change without a change of state, which no event tells.
    const busy = this.instance && moving(this.instance.state);
    return busy ? 1500 : this.connected ? 30_000 : 4000;
  }
}

const KEY = Symbol('watched');

export const watched = {
  set: (one: Watched) => setContext(KEY, one),
  get: () => getContext<Watched>(KEY),
};
