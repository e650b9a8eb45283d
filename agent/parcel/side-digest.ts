import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/**
 * SHA-256 on a thread of its own. Sealing and hashing cost about the same, so that doing them one after the other
 * halves what a parcel is packed at. The thread starts with the first piece of `pieceBytes`: a small parcel is hashed
 * sooner than a thread is there.
 */
export class SideDigest {
  readonly #pieceBytes: number;
  /** What came before the thread. */
  readonly #first: Uint8Array[] = [];
  #worker: Worker | undefined;

  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  /** One call at a time. Shared memory is not copied, and must not change before the promise resolves. */
  async update(piece: Uint8Array): Promise<void> {
    if (!this.#worker && piece.length < this.#pieceBytes) {
      this.#first.push(piece);
      return;
    }
    this.#worker ??= new Worker(new URL('./digest-worker.ts', import.meta.url), { workerData: this.#first });
    await this.#ask(this.#worker, piece);
  }

  /** Hex. The last call. */
  async digest(): Promise<string> {
    if (this.#worker) return this.#ask(this.#worker, undefined);
    const digest = createHash('sha256');
    for (const piece of this.#first) digest.update(piece);
    return digest.digest('hex');
  }

  /** Ends the thread, whatever it was doing. Harmless twice. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  async #ask(worker: Worker, piece: Uint8Array | undefined): Promise<string> {
    const answered = once(worker, 'message');
    worker.postMessage(piece, []);
    const [answer] = await answered;
    return String(answer);
  }
}
