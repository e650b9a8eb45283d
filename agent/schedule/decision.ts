/**
 * Whether a job is due. Pure: what was decided before and what the clocks say go in, what to do comes out.
 *
 * A slot is decided once, by being later than the last one decided. Several at once (downtime, a clock set forward)
 * are one run and a number of missed ones. When the clock was set back behind the last decided slot, slots come a
 * second time; then the monotonic clock says whether a whole period has passed since the last run. So a job is neither
 * repeated because of a correction of five minutes, nor silent for as long as the clock was wrong.
 */
import type { Instant } from '../model/record.ts';
import type { Timetable } from './timetable.ts';

/** A run begins up to one tick after its slot, so a period by the monotonic clock may look this much too short. */
const lateStartMsMax = 60_000;

export interface Decided {
  /** The last slot that was run or given up. */
  readonly lastDue: Instant | undefined;
  /** The run for it was cut off by a stop or a crash. */
  readonly isUnfinished: boolean;
  /** Monotonic milliseconds since the last run began; Infinity when that is not known. */
  readonly sinceStartMs: number;
  /** While the clock is behind `lastDue`: the last repeated slot that was looked at. */
  readonly lastRepeated: Instant | undefined;
}

export type Decision =
  /** The slot is decided without a run: the first sight of a job, or a slot that comes a second time. */
  | { readonly act: 'note'; readonly slot: Instant; readonly isRepeated: boolean }
  | { readonly act: 'run'; readonly slot: Instant; readonly missed: number }
  | { readonly act: 'wait' };

const wait: Decision = { act: 'wait' };

export function decide(timetable: Timetable, decided: Decided, now: Instant): Decision {
  const slot = timetable.latest(now);
  if (slot === undefined) return wait;
  // A new job waits for its first slot: installing the connector at noon is no reason to read a PACS at noon.
  if (decided.lastDue === undefined) return { act: 'note', slot, isRepeated: false };
  if (isRepeated(slot, decided.lastDue, decided.lastRepeated)) return decideBehind(timetable, decided, slot, now);
  const isOwed = slot > decided.lastDue || decided.isUnfinished;
  if (!isOwed || !mayStart(timetable, slot, now)) return wait;
  return { act: 'run', slot, missed: timetable.slotsBetween(decided.lastDue, slot) };
}

/** The clock went back: slots come again, up to and including the last decided one. */
function isRepeated(slot: Instant, lastDue: Instant, lastRepeated: Instant | undefined): boolean {
  return slot < lastDue || (slot === lastDue && lastRepeated !== undefined && lastRepeated < slot);
}

function decideBehind(timetable: Timetable, decided: Decided, slot: Instant, now: Instant): Decision {
  if (decided.lastRepeated === undefined) return { act: 'note', slot, isRepeated: true };
  if (slot <= decided.lastRepeated || !mayStart(timetable, slot, now)) return wait;
  const periodMs = timetable.periodMs(slot);
  const hasPassed = decided.sinceStartMs >= periodMs - Math.min(lateStartMsMax, periodMs / 2);
  return hasPassed ? { act: 'run', slot, missed: 0 } : { act: 'note', slot, isRepeated: true };
}

function mayStart(timetable: Timetable, slot: Instant, now: Instant): boolean {
  return now >= timetable.startOf(slot) && timetable.isOpen(now);
}
