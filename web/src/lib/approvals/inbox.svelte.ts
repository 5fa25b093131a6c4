// What agents ask, kept up to date by the stream of events. The stream only says that there is something to look at;
// timers find what a broken stream has missed, and what has expired.
import { all, call, first, words } from '$lib/api/client';
import { Looks } from '$lib/api/looks';
import { live } from '$lib/api/stream';
import type { Approval } from '$lib/api/types';

const SOON = 80;
const WITHOUT_STREAM = 5000;
const WITH_STREAM = 60_000;
/** How many of those that were answered are shown. */
const ANSWERED = 50;

export class Inbox {
  open = $state.raw<Approval[]>();
  answered = $state.raw<Approval[]>([]);
  connected = $state(true);
  problem = $state<string>();
  #looks = new Looks(() => this.#look());
  #stopStream = () => {};

  /** Of one project, by its name; of all that the caller sees when absent. */
  constructor(private readonly project?: string) {}

  start() {
    const of = this.project ? `&project=${encodeURIComponent(this.project)}` : '';
    this.#stopStream = live({
      path: () => `/v1/events?kind=approval.${of}`,
      again: true,
      message: () => this.#looks.soon(SOON),
      connection: (now) => {
        this.connected = now === 'open' || now === 'connecting';
        // Whatever was asked before the stream began is in the list; whatever is asked later is in the stream.
        this.#looks.soon(SOON);
      },
    });
  }

  stop() {
    this.#looks.stop();
    this.#stopStream();
  }

  grant = (one: Approval, time: string) => this.#answer(one, 'grant', { for: time });
  refuse = (one: Approval) => this.#answer(one, 'refuse');

  /** Whoever comes second is told who was first, and then sees it. */
  async #answer(one: Approval, how: 'grant' | 'refuse', body?: unknown) {
    try {
      await call(`/v1/approvals/${one.id}/${how}`, { method: 'POST', body });
    } finally {
      await this.#looks.now();
    }
  }

  async #look() {
    const of = this.project ? { project: this.project } : undefined;
    try {
      const [open, recent] = await Promise.all([
        all<Approval>('/v1/approvals', { ...of, state: 'open' }),
        first<Approval>('/v1/approvals', ANSWERED, of),
      ]);
      this.open = open;
      this.answered = recent.items.filter((one) => one.state !== 'open');
      this.problem = undefined;
    } catch (error) {
      this.problem = words(error);
    }
    return this.connected && !this.problem ? WITH_STREAM : WITHOUT_STREAM;
  }
}
