import { buildStatus, type Status, type StatusInputs } from '../../agent/health/index.ts';
import { dayMs, hourMs, jst } from '../base/fake-clock.ts';

export const now = jst('2026-11-23 22:30');

/** A hospital where all is well; tests change what they are about. */
export function healthy(changes: Partial<StatusInputs> = {}): StatusInputs {
  return {
    now,
    version: '0.1.0',
    startedAt: now - 3 * dayMs,
    isSafeMode: false,
    isPaused: false,
    sources: [
      {
        name: 'ehr-feed',
        kind: 'hl7v2',
        port: 2575,
        isPaused: false,
        lastOkAt: now - 60_000,
        silence: { silentMs: 60_000, usualMs: 120_000, isUnusual: false },
        queued: { text: 1_234, image: 0 },
        completeThrough: now - hourMs,
      },
    ],
    producers: [
      {
        name: 'ldi',
        isPaused: false,
        lastContactAt: now - 60_000,
        lastStoredAt: now - hourMs,
        lastReceipt: { status: 'opened', sequence: 25, at: now - hourMs },
        queued: { text: 1_234, image: 56 },
        oldestUnsentAt: now - 2 * hourMs,
      },
    ],
    deliveries: {
      held: 123,
      ready: 1_290,
      packed: 0,
      stored: 500,
      opened: 98_765,
      stopped: 7,
      refused: 19,
      expired: 0,
      rejected: 0,
    },
    held: { byReason: { waiting: 100, 'not-notified': 23 }, firstUntil: now + 12 * dayMs },
    quarantined: 0,
    gaps: 3,
    register: { fresh: true, asOf: now - 5 * hourMs },
    clock: { trusted: true, offsetMs: 120 },
    disk: { state: 'ok', freeBytes: 80e9, totalBytes: 100e9, hasReserve: true, fullInMs: 40 * dayMs },
    ledgerHead: { seq: 4_711, hash: 'ab'.repeat(32) },
    retractions: { open: 0 },
    jobs: [{ name: 'pull ehr-fhir', lastOk: now - hourMs, lastCode: 'ok', missed: 2, running: false, paused: false }],
    certificates: [{ name: 'client ldi', notAfter: now + 90 * dayMs }],
    config: { running: 'cd'.repeat(32) },
    unserved: [],
    recentCrashes: 0,
    lastBackupAt: now - 20 * hourMs,
    events: new Map([['parcel.stored', 25]]),
    ...changes,
  };
}

export function statusWith(changes: Partial<StatusInputs> = {}): Status {
  return buildStatus(healthy(changes));
}
