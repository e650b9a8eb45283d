/**
 * The disk of the state folder. On a full disk SQLite can neither delete nor checkpoint, so a connector that only
 * notices the error is stuck with it. Two things prevent that: intake stops while there still is room, and a
 * **reserve** file of real blocks is given back in an emergency, so that deleting works again.
 */
import { randomFillSync } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DurableFile, freeSpace } from '../base/files.ts';
import { reasonOf } from '../model/errors.ts';
import type { Clock, Report } from '../model/ports.ts';

const MiB = 1024 * 1024;
const GB = 1_000_000_000;
const hourMs = 3_600_000;

/** `low`: warn, go on. `full`: take nothing more in. */
export type DiskState = 'ok' | 'low' | 'full';

export interface DiskLimits {
  /** Below the larger of the two it is full. */
  readonly fullFraction: number;
  readonly fullBytes: number;
  /** Below this (and never below `full`) it is low. */
  readonly lowFraction: number;
  readonly reserveBytes: number;
}

const defaultLimits: DiskLimits = {
  fullFraction: 0.05,
  fullBytes: 2 * GB,
  lowFraction: 0.15,
  // A checkpoint on a full disk needs the length of the write-ahead log, 8 MiB by SQLite's default and our page size.
  reserveBytes: 64 * MiB,
};

/** A state is left only when there is this much more than it was entered with: no flapping at the edge. */
const hysteresis = 1.1;

/** One sample an hour for a week tells how fast it fills, weekend included. */
const sampleEveryMs = hourMs;
const samplesMax = 7 * 24;

/** A forecast from less than this is noise. */
const trendMsMin = 3 * hourMs;

export interface DiskStatus {
  readonly state: DiskState;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly hasReserve: boolean;
  /** Absent while it does not fill, or not long enough to tell. */
  readonly fullInMs?: number;
}

export class DiskGuard {
  readonly #folder: string;
  readonly #reserve: string;
  readonly #clock: Clock;
  readonly #report: Report;
  readonly #limits: DiskLimits;
  readonly #samples: { at: number; freeBytes: number }[] = [];
  #status: DiskStatus = { state: 'ok', freeBytes: 0, totalBytes: 0, hasReserve: false };

  constructor(options: { folder: string; clock: Clock; report: Report; limits?: Partial<DiskLimits> }) {
    this.#folder = options.folder;
    this.#reserve = join(options.folder, 'reserve');
    this.#clock = options.clock;
    this.#report = options.report;
    this.#limits = { ...defaultLimits, ...options.limits };
  }

  /** As of the last `check`. */
  get status(): DiskStatus {
    return this.#status;
  }

  /** `look`, and rebuilds the reserve when there is room for it. Not twice at once. */
  async check(): Promise<DiskState> {
    const state = await this.look();
    const { hasReserve, freeBytes, totalBytes } = this.#status;
    if (!hasReserve && state === 'ok' && this.#hasRoomForReserve(freeBytes, totalBytes)) await this.#buildReserve();
    return state;
  }

  /** Looks at the disk and tells a change of state. */
  async look(): Promise<DiskState> {
    const { freeBytes, totalBytes } = await freeSpace(this.#folder);
    const state = this.#stateOf(freeBytes, totalBytes);
    this.#tell(state, freeBytes);
    this.#sample(freeBytes);
    const hasReserve = (await this.#reserveBytes()) === this.#limits.reserveBytes;
    const fullInMs = this.#fullInMs(freeBytes, totalBytes);
    this.#status = { state, freeBytes, totalBytes, hasReserve, ...(fullInMs !== undefined && { fullInMs }) };
    return state;
  }

  /** Gives the reserve's blocks back. Harmless when there is none. */
  async releaseReserve(): Promise<void> {
    const releasedBytes = await this.#reserveBytes();
    await rm(this.#reserve, { force: true });
    this.#status = { ...this.#status, hasReserve: false };
    if (releasedBytes > 0)
      this.#report({ name: 'disk.reserve-released', code: 'BUFFER_FULL', numbers: { releasedBytes } });
  }

  #stateOf(freeBytes: number, totalBytes: number): DiskState {
    const { full, low } = this.#thresholds(totalBytes);
    const stay = (state: DiskState) => (this.#status.state === state ? hysteresis : 1);
    if (freeBytes < full * stay('full')) return 'full';
    // Coming from full it passes through low.
    const wasShort = this.#status.state === 'ok' ? 1 : hysteresis;
    return freeBytes < low * wasShort ? 'low' : 'ok';
  }

  #thresholds(totalBytes: number): { full: number; low: number } {
    const full = Math.max(this.#limits.fullFraction * totalBytes, this.#limits.fullBytes);
    return { full, low: Math.max(this.#limits.lowFraction * totalBytes, full) };
  }

  #tell(state: DiskState, freeBytes: number): void {
    if (state === this.#status.state) return;
    const numbers = { freeBytes };
    if (state === 'full') this.#report({ name: 'disk.full', code: 'BUFFER_FULL', numbers });
    else this.#report({ name: state === 'low' ? 'disk.low' : 'disk.recovered', numbers });
  }

  #sample(freeBytes: number): void {
    const at = this.#clock.monotonic();
    const last = this.#samples.at(-1);
    if (last && at - last.at < sampleEveryMs) return;
    this.#samples.push({ at, freeBytes });
    if (this.#samples.length > samplesMax) this.#samples.shift();
  }

  /** Until the `full` threshold, by the straight line from the oldest sample to now. */
  #fullInMs(freeBytes: number, totalBytes: number): number | undefined {
    const oldest = this.#samples[0];
    const overMs = oldest ? this.#clock.monotonic() - oldest.at : 0;
    const lostBytes = (oldest?.freeBytes ?? 0) - freeBytes;
    if (overMs < trendMsMin || lostBytes <= 0) return undefined;
    const leftBytes = Math.max(0, freeBytes - this.#thresholds(totalBytes).full);
    return Math.round((leftBytes * overMs) / lostBytes);
  }

  #hasRoomForReserve(freeBytes: number, totalBytes: number): boolean {
    return freeBytes - this.#limits.reserveBytes > this.#thresholds(totalBytes).low * hysteresis;
  }

  /** Random bytes, written: a hole, or zeros on a file system that compresses, would keep no block free. */
  async #buildReserve(): Promise<void> {
    const file = await DurableFile.create(this.#reserve);
    // One block filled anew: 64 of them would stay in memory until somebody collects the garbage.
    const block = Buffer.allocUnsafe(MiB);
    try {
      while (file.bytes < this.#limits.reserveBytes) {
        const bytes = Math.min(MiB, this.#limits.reserveBytes - file.bytes);
        await file.write(randomFillSync(block).subarray(0, bytes));
      }
      await file.commit();
      this.#status = { ...this.#status, hasReserve: true };
    } catch (error) {
      await file.abandon();
      // Somebody else took the space meanwhile: the next check sees it.
      if (reasonOf(error) !== 'ENOSPC') throw error;
    }
  }

  async #reserveBytes(): Promise<number> {
    try {
      const { size } = await stat(this.#reserve);
      return size;
    } catch (error) {
      if (reasonOf(error) === 'ENOENT') return 0;
      throw error;
    }
  }
}
