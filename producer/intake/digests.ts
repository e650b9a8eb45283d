/**
 * The SHA-256 of uploads in progress, computed while the bytes pass. A hash's inner state cannot be written down, so
 * after a restart what is on the disk is read once more; between the parts of one upload it is kept here.
 */
import { createHash, type Hash } from 'node:crypto';
import type { ParcelName, ParcelStore } from '../storage/store.ts';

/** Half-done uploads whose hash is kept: more than are ever active. An evicted one costs reading its file again. */
const keptDigestsMax = 1024;

export class Digests {
  readonly #store: ParcelStore;
  readonly #kept = new Map<string, { hash: Hash; offset: number }>();

  constructor(store: ParcelStore) {
    this.#store = store;
  }

  /** The hash over the first `offset` bytes. It belongs to the caller until given back. */
  async take(name: ParcelName, offset: number): Promise<Hash> {
    const key = `${name.agent}/${name.parcelId}`;
    const kept = this.#kept.get(key);
    this.#kept.delete(key);
    if (kept?.offset === offset) return kept.hash;
    const hash = createHash('sha256');
    for await (const chunk of this.#store.read(name, offset)) hash.update(chunk);
    return hash;
  }

  giveBack(name: ParcelName, hash: Hash, offset: number): void {
    this.#kept.set(`${name.agent}/${name.parcelId}`, { hash, offset });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > keptDigestsMax && oldest !== undefined) this.#kept.delete(oldest);
  }
}
