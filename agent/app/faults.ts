import type { ErrorCode } from '../model/errors.ts';
import type { ConnectorEvent, EventName } from '../model/events.ts';

const begins: ReadonlySet<EventName> = new Set(['source.failed', 'ship.failed', 'receipt.refused']);
const ends: ReadonlySet<EventName> = new Set(['source.recovered', 'ship.recovered', 'parcel.stored', 'parcel.opened']);

/** What is failing now, by source or producer, as their own events tell it. */
export class Faults {
  readonly #codes = new Map<string, ErrorCode>();

  note({ name, source, producer, code }: ConnectorEvent): void {
    const part = source ?? producer;
    if (part === undefined) return;
    if (begins.has(name) && code) this.#codes.set(part, code);
    if (ends.has(name)) this.#codes.delete(part);
  }

  set(part: string, code: ErrorCode): void {
    this.#codes.set(part, code);
  }

  clear(part: string): void {
    this.#codes.delete(part);
  }

  of(part: string): ErrorCode | undefined {
    return this.#codes.get(part);
  }
}
