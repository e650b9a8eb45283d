/**
 * How many bytes one PATCH carries. Large parts cost the fewest round trips; a line or a proxy that cuts long requests
 * gets smaller ones. One per producer, so that the next parcel starts with what the line was found to bear.
 */
const MiB = 1024 * 1024;
const partBytesMax = 64 * MiB;

/** Below this a cut is the line's fault and smaller parts only add round trips. */
const partBytesMin = 4 * MiB;

/** A proxy's own limit on bodies can be lower (nginx: 1 MiB). Below this nothing reasonable can pass. */
const bodyLimitBytesMin = 256 * 1024;

const cutsBeforeHalving = 3;
const cleanBeforeDoubling = 10;

export class PartSize {
  #bytes = partBytesMax;
  /** Lowered for good by a 413: the next try at the old size would only be refused again. */
  #ceiling = partBytesMax;
  #cuts = 0;
  #clean = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** A part was accepted whole. */
  clean(): void {
    this.#cuts = 0;
    this.#clean += 1;
    if (this.#clean < cleanBeforeDoubling) return;
    this.#clean = 0;
    this.#bytes = Math.min(this.#bytes * 2, this.#ceiling);
  }

  /** The connection broke, or stood still, within a part. */
  cut(): void {
    this.#clean = 0;
    this.#cuts += 1;
    if (this.#cuts < cutsBeforeHalving) return;
    this.#cuts = 0;
    this.#bytes = Math.max(Math.floor(this.#bytes / 2), Math.min(partBytesMin, this.#bytes));
  }

  /** 413 for a part of `sentBytes`. False when no smaller part is worth trying. */
  tooLarge(sentBytes: number): boolean {
    const smaller = Math.floor(Math.min(sentBytes, this.#bytes) / 2);
    if (smaller < bodyLimitBytesMin) return false;
    this.#clean = 0;
    this.#bytes = smaller;
    this.#ceiling = smaller;
    return true;
  }
}
