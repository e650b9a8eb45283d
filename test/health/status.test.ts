import { describe, expect, it } from 'vitest';
import type { StatusInputs } from '../../agent/health/index.ts';
import { adviceReasons, type AdviceReason } from '../../agent/health/advice.ts';
import { errorTable } from '../../agent/model/errors.ts';
import { dayMs, hourMs } from '../base/fake-clock.ts';
import { healthy, now, statusWith } from './sample-status.ts';

const [source, producer] = [healthy().sources[0] ?? fail(), healthy().producers[0] ?? fail()];

/** For each reason, inputs that differ from a healthy hospital's in one thing. */
const provoked: Readonly<Record<AdviceReason, Partial<StatusInputs>>> = {
  'safe-mode': { isSafeMode: true },
  fault: { fault: 'STATE_UNSAFE' },
  paused: { isPaused: true },
  'disk-full': { disk: { ...healthy().disk, state: 'full' } },
  'clock-untrusted': { clock: { trusted: false, reason: 'ahead', offsetMs: 40 * dayMs } },
  'register-missing': { register: { fresh: false } },
  'register-stale': { register: { fresh: false, asOf: now - 100 * hourMs } },
  'certificate-expired': { certificates: [{ name: 'client ldi', notAfter: now }] },
  'source-failing': { sources: [{ ...source, code: 'FILE_UNREADABLE' }] },
  'producer-unreachable': { producers: [{ ...producer, code: 'PRODUCER_REFUSED' }] },
  'delivery-rejected': { deliveries: { ...healthy().deliveries, rejected: 1 } },
  'retraction-open': { retractions: { open: 1, oldestAt: now - 25 * hourMs } },
  'backlog-old': { producers: [{ ...producer, oldestUnsentAt: now - 27 * hourMs }] },
  'opening-late': { producers: [{ ...producer, oldestUnopenedAt: now - 8 * dayMs }] },
  'source-silent': { sources: [{ ...source, silence: { silentMs: 9 * hourMs, usualMs: hourMs, isUnusual: true } }] },
  'job-failing': { jobs: [{ name: 'pull pacs', lastCode: 'JOB_FAILED', missed: 0, running: false, paused: false }] },
  'page-unavailable': { unserved: [{ name: 'console', code: 'CONSOLE_UNAVAILABLE' }] },
  quarantined: { quarantined: 1 },
  'config-failed': { config: { running: 'ab'.repeat(32), failed: 'cd'.repeat(32) } },
  'certificate-expiring': { certificates: [{ name: 'client ldi', notAfter: now + 20 * dayMs }] },
  'disk-low': { disk: { ...healthy().disk, state: 'low' } },
  'backup-old': { lastBackupAt: now - 49 * hourMs },
};

const stateWords: Partial<Record<AdviceReason, string>> = {
  'safe-mode': 'safe',
  fault: 'stopped-by-fault',
  paused: 'paused',
};

describe('the status', () => {
  it('is ok, with nothing to do, where all is well', () => {
    expect(statusWith()).toMatchObject({ state: 'ok', advice: [], oldestUnsentMs: 2 * hourMs, uptimeMs: 3 * dayMs });
  });

  it('has what `status --json` promises', () => {
    const promised = [
      'state',
      'sources',
      'producers',
      'deliveries',
      'quarantined',
      'gaps',
      'oldestUnsentMs',
      'register',
      'clock',
      'disk',
      'ledgerHead',
    ];
    const printed: object = JSON.parse(JSON.stringify(statusWith()));
    expect(Object.keys(printed)).toEqual(expect.arrayContaining(promised));
    expect(printed).toMatchObject({
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
      register: { fresh: true, asOf: now - 5 * hourMs },
      clock: { trusted: true },
    });
  });

  it.each(adviceReasons)('says what to do about %s, in both languages and nothing else', (reason) => {
    const { state, advice } = statusWith(provoked[reason]);
    expect(advice.map((each) => each.reason)).toEqual([reason]);
    expect(state).toBe(stateWords[reason] ?? 'attention');
    expect(advice[0]?.ja).toMatch(/[ぁ-ん]/);
    expect(advice[0]?.en).toMatch(/^[A-Z\d].*\.$/);
    // Every word of the sentence was filled.
    for (const text of [advice[0]?.en, advice[0]?.ja]) expect(text).not.toMatch(/[{}]|\(-|（-/);
  });

  it('names the part it is about, the code, and that code’s own hint', () => {
    const [advice] = statusWith(provoked['source-failing']).advice;
    expect(advice).toMatchObject({ subject: 'ehr-feed' });
    expect(advice?.en).toContain(`FILE_UNREADABLE). ${errorTable.FILE_UNREADABLE.hint}`);
    expect(advice?.ja).toContain(errorTable.FILE_UNREADABLE.ja);
  });

  it('puts the most urgent first and the gravest state word in front', () => {
    const { state, advice } = statusWith({
      ...provoked['backup-old'],
      ...provoked.quarantined,
      ...provoked['clock-untrusted'],
      ...provoked.paused,
      ...provoked['safe-mode'],
    });
    expect(state).toBe('safe');
    expect(advice.map(({ reason }) => reason)).toEqual([
      'safe-mode',
      'paused',
      'clock-untrusted',
      'quarantined',
      'backup-old',
    ]);
  });

  it('does not complain about what a person has paused', () => {
    const sources = [
      {
        ...source,
        isPaused: true,
        code: 'FILE_UNREADABLE' as const,
        silence: { silentMs: dayMs, usualMs: 1, isUnusual: true },
      },
    ];
    const producers = [{ ...producer, isPaused: true, code: 'PRODUCER_REFUSED' as const }];
    const jobs = [{ name: 'pull pacs', lastCode: 'JOB_FAILED', missed: 9, running: false, paused: true }];
    const status = statusWith({ sources, producers, jobs });
    expect(status.state).toBe('ok');
    expect(status.sources[0]?.state).toBe('paused');
  });

  it('does not take a stop, the end of the transfer hours or a missed run long ago for a failing job', () => {
    for (const lastCode of ['ok', 'running', 'stopped', 'window']) {
      const jobs = [{ name: 'pull pacs', lastCode, missed: 3, running: false, paused: false }];
      expect(statusWith({ jobs }).state).toBe('ok');
    }
  });

  it('counts a certificate’s days down to the day, and below zero', () => {
    const certificates = [dayMs * 1.5, -dayMs / 2].map((ms) => ({ name: 'client ldi', notAfter: now + ms }));
    expect(statusWith({ certificates }).certificates.map(({ daysLeft }) => daysLeft)).toEqual([1, -1]);
  });
});

function fail(): never {
  throw new Error('the sample has one of each');
}
