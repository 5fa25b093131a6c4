// All of the caller's instances, kept up to date by the stream of events. The stream only says what to look at again;
// what is shown comes from the instance itself. Timers find what a broken stream has missed.
import { all, call, Refused, words } from '$lib/api/client';
import { Looks } from '$lib/api/looks';
import { live } from '$lib/api/stream';
import type { Event, Instance } from '$lib/api/types';
import { Due } from './due';

const SOON = 120;
const WITHOUT_STREAM = 5000;
const WITH_STREAM = 60_000;

export class Instances {
  items = $state<Instance[]>([]);
  loaded = $state(false);
  connected = $state(true);
  problem = $state<string>();

  #due = new Due();
  #looks = new Looks(() => this.#refresh());
  #stopStream = () => {};
  #whole = 0;

  start() {
    this.#stopStream = live({
      path: () => '/v1/events?kind=instance.',
      again: true,
      message: (message) => {
        const event = JSON.parse(message.data) as Event;
        if (event.kind === 'instance.deleted') this.#drop(event.subject_id);
        else if (event.subject_id) this.look(event.subject_id);
      },
      connection: (now) => {
        this.connected = now === 'open' || now === 'connecting';
        // Whatever happened before the stream began is in the list; whatever happens later is in the stream.
        if (now !== 'connecting') this.look();
      },
    });
  }

  stop() {
    this.#looks.stop();
    this.#stopStream();
  }

  /** Looks at one instance again soon, or at all. */
  look(id?: string) {
    this.#due.add(id);
    this.#looks.soon(SOON);
  }

  async #refresh() {
    // With nothing due it is the timer's look.
    const due = this.#due.empty ? 'all' : this.#due.take();
    try {
      if (due === 'all' || !this.loaded) {
        this.items = await all<Instance>('/v1/instances');
        this.loaded = true;
        this.#whole = Date.now();
      } else {
        await Promise.all(due.map((id) => this.#one(id)));
      }
      this.problem = undefined;
    } catch (error) {
      this.problem = words(error);
    }
    const isCurrent = this.connected && !this.problem;
    return isCurrent ? Math.max(WITH_STREAM - (Date.now() - this.#whole), 1000) : WITHOUT_STREAM;
  }

  async #one(id: string) {
    try {
      const instance = await call<Instance>(`/v1/instances/${id}`);
      const at = this.items.findIndex((one) => one.id === instance.id);
      if (at >= 0) this.items[at] = instance;
      else this.items = [...this.items, instance].sort((a, b) => a.name.localeCompare(b.name));
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      this.#drop(id);
    }
  }

  #drop(id: string | null | undefined) {
    this.items = this.items.filter((one) => one.id !== id);
  }
}
