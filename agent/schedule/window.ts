/**
 * Transfer hours: a part of every day in Asia/Tokyo, which may reach over midnight (`22:00-06:00`). The first minute
 * belongs to it, the last does not, so that two windows that touch do not overlap.
 */
import { timeOfDayJst } from '../base/clock.ts';
import { ConnectorError } from '../model/errors.ts';
import type { Instant } from '../model/record.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

export interface Window {
  /** Milliseconds after midnight in Asia/Tokyo. */
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Reads `HH:MM-HH:MM`; `24:00` may end it.
 *
 * @throws ConnectorError SCHEDULE_INVALID - another form, an hour that does not exist, or two equal ends: nobody can
 *   say whether that means the whole day or none of it.
 */
export function parseWindow(text: string): Window {
  const [, fromHour, fromMinute, toHour, toMinute] = /^(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(text) ?? [];
  if (toMinute === undefined) throw invalid(text, 'it is not of the form HH:MM-HH:MM');
  const [fromMs, toMs] = [timeOf(fromHour, fromMinute), timeOf(toHour, toMinute)];
  if (fromMs >= dayMs || toMs > dayMs || Number(fromMinute) > 59 || Number(toMinute) > 59) {
    throw invalid(text, 'there is no such time of day');
  }
  if (fromMs === toMs % dayMs) throw invalid(text, 'it begins when it ends');
  return { fromMs, toMs: toMs % dayMs };
}

export function isOpen(window: Window, at: Instant): boolean {
  const time = timeOfDayJst(at);
  return window.fromMs < window.toMs
    ? time >= window.fromMs && time < window.toMs
    : time >= window.fromMs || time < window.toMs;
}

/** The first instant from `at` on at which it is open: `at` itself when it is. */
export function opensAt(window: Window, at: Instant): Instant {
  return isOpen(window, at) ? at : at + untilMs(window.fromMs, at);
}

/** The instant it closes after `at`, at which it is open. */
export function closesAt(window: Window, at: Instant): Instant {
  return at + untilMs(window.toMs, at);
}

/** Milliseconds until the time of day `timeMs` comes next; a whole day when it is that time now. */
function untilMs(timeMs: number, at: Instant): number {
  const wait = (timeMs - timeOfDayJst(at) + dayMs) % dayMs;
  return wait === 0 ? dayMs : wait;
}

function timeOf(hour: string | undefined, minute: string | undefined): number {
  return (Number(hour) * 60 + Number(minute)) * minuteMs;
}

function invalid(text: string, reason: string): ConnectorError {
  return new ConnectorError('SCHEDULE_INVALID', { text, reason });
}
