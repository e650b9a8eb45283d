import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dayMs, minuteMs } from '../../base/fake-clock.ts';
import type { TestIntake } from '../../conformance/intake.ts';
import { ownSystem } from '../../peers/fhir/resources.ts';
import { MedplumServer } from '../../peers/fhir/medplum.ts';
import { rig, stopAll } from './host.ts';

/** A server of another house stands for those who read our questions by the standard and not by our intentions. */
let server: MedplumServer;
const made: string[] = [];

beforeAll(async () => {
  server = await MedplumServer.start();
  const { id } = await server.create({
    resourceType: 'Patient',
    identifier: [{ system: ownSystem, value: '0012345' }],
    name: [{ family: '架橋', given: ['太郎'] }],
  });
  made.push(`Patient/${id}`);
  for (let index = 0; index < 25; index++) {
    const observation = await server.create({
      resourceType: 'Observation',
      status: 'final',
      code: { text: '総コレステロール' },
      category: [{ coding: [{ code: 'laboratory' }] }],
      subject: { reference: `Patient/${id}` },
      effectiveDateTime: '2026-11-19T09:00:00+09:00',
    });
    made.push(`Observation/${observation.id}`);
  }
});

afterAll(() => server.close());
afterEach(stopAll);

function keys({ taken }: TestIntake): string[] {
  return taken.map(({ facts }) => facts.nativeKey).toSorted();
}

const options = { types: ['Patient', 'Observation'], count: 10, lag: '0s', overlap: '0s' };

describe('the router of Medplum', () => {
  it('understands our questions by time of change: each resource comes once, and later only what is new', async () => {
    server.aheadMs = minuteMs;
    const { poll, intake } = rig({ url: server.url, ...options });
    expect(await poll()).toMatchObject({ offered: made.length, complete: true });
    expect(keys(intake)).toEqual(made.toSorted());
    server.aheadMs = 2 * minuteMs;
    expect(await poll()).toMatchObject({ offered: 0 });
  });

  it('gives nothing of a time before its resources', async () => {
    server.aheadMs = -dayMs;
    const { poll } = rig({ url: server.url, ...options });
    expect(await poll()).toMatchObject({ offered: 0, complete: true });
  });

  it('understands our questions by patient and clinical date', async () => {
    const patientId = made[0]?.replace('Patient/', '') ?? '';
    const found = async (date: string) => {
      const answer = await fetch(
        `${server.url}Observation?patient=${encodeURIComponent(`Patient/${patientId}`)}&date=ge${date}&_count=500`,
      );
      return ((await answer.json()) as { entry?: unknown[] }).entry?.length ?? 0;
    };
    expect([await found('2026-11-19'), await found('2026-11-21')]).toEqual([25, 0]);
  });
});
