/**
 * Counts crashes in a small file outside the database, because the database may be what makes us crash. Five of them in
 * ten minutes put the agent into **safe mode**: no sources, no shipping, only console and heartbeat, until an operator
 * ends it or six hours have passed. So a service manager may restart us for ever and the hospital's systems are not
 * called by a loop.
 *
 * ```
 * {"v":1,"isRunning":true,"crashes":[ms, …],"safeSince":ms|null}
 * ```
 * `isRunning` is written at the start and cleared at an orderly stop; finding it set means the last run crashed (or the
 * power was cut: five power cuts in ten minutes deserve the same). The times are the wall clock's.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { writeDurableSync } from '../base/files.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { Clock, Report } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';

const minuteMs = 60_000;

const crashesForSafeMode = 5;
const crashWindowMs = 10 * minuteMs;
const safeModeMs = 6 * 60 * minuteMs;

/** More are not needed to count to five. */
const crashesKeptMax = 20;

const markerSchema = z.object({
  v: z.literal(1),
  isRunning: z.boolean(),
  crashes: z.array(z.number()).max(crashesKeptMax),
  safeSince: z.number().nullable(),
});

type Marker = z.infer<typeof markerSchema>;

export class CrashMarker {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #report: Report;
  #marker: Marker;

  /** Reads the file. A missing or damaged one counts as a first start: a broken note must not keep us from starting. */
  constructor({ path, clock, report }: { path: string; clock: Clock; report: Report }) {
    this.#path = path;
    this.#clock = clock;
    this.#report = report;
    this.#marker = read(path);
  }

  /** Notes this start, and the crash before it if there was one. To be called once, before anything that may crash. */
  begin(): void {
    const now = this.#clock.now();
    const { isRunning, crashes, safeSince } = this.#marker;
    const all = isRunning ? [...crashes, now].slice(-crashesKeptMax) : crashes;
    const isOver = safeSince !== null && !isWithin(safeSince, now, safeModeMs);
    const counted = isOver ? [] : all.filter((at) => isWithin(at, now, crashWindowMs));
    const begins = safeSince === null && counted.length >= crashesForSafeMode;
    this.#keep({
      v: 1,
      isRunning: true,
      crashes: counted,
      safeSince: begins ? now : isOver ? null : safeSince,
    });
  }

  /** Notes that the agent stopped in order. */
  end(): void {
    this.#keep({ ...this.#marker, isRunning: false });
  }

  /** Whether sources and shipping must rest now. Turns false by itself after six hours. */
  isSafeMode(): boolean {
    const { safeSince } = this.#marker;
    return safeSince !== null && isWithin(safeSince, this.#clock.now(), safeModeMs);
  }

  /** An operator's word: try again. */
  leaveSafeMode(): void {
    this.#keep({ ...this.#marker, crashes: [], safeSince: null });
  }

  /** Crashes within the last ten minutes. */
  recentCrashes(): number {
    const now = this.#clock.now();
    return this.#marker.crashes.filter((at) => isWithin(at, now, crashWindowMs)).length;
  }

  /** On a full disk the count goes on in memory only; that must not stop the start. */
  #keep(marker: Marker): void {
    this.#marker = marker;
    try {
      writeDurableSync(this.#path, Buffer.from(JSON.stringify(marker)));
    } catch (cause) {
      const error = new ConnectorError('BUFFER_FAILED', { reason: reasonOf(cause) }, { cause });
      this.#report({ name: 'schedule.failed', word: 'crash-marker', code: error.code });
    }
  }
}

/** Either side counts: a clock that was set back between two crashes does not make them less of a loop. */
function isWithin(at: Instant, now: Instant, durationMs: number): boolean {
  return Math.abs(now - at) < durationMs;
}

function read(path: string): Marker {
  const first: Marker = { v: 1, isRunning: false, crashes: [], safeSince: null };
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return first;
    return { ...first, isRunning: true };
  }
  return parse(text) ?? { ...first, isRunning: true };
}

/** Undefined for anything but a whole marker. */
function parse(text: string): Marker | undefined {
  try {
    return markerSchema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
