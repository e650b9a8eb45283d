import { afterEach, describe, expect, it } from 'vitest';
import { dayMs, hourMs } from '../../base/fake-clock.ts';
import { bufferFull, type TestIntake } from '../../conformance/intake.ts';
import { condition, observation, patient } from '../../peers/fhir/resources.ts';
import type { FhirServer } from '../../peers/fhir/server.ts';
import { passTime, rig, startServer, stopAll } from './host.ts';

afterEach(stopAll);

const types = ['Patient', 'Observation', 'Condition'];

/** A server as JP Core promises it: nothing about times of change. */
async function plainServer(patients = ['1', '2']): Promise<FhirServer> {
  const server = await startServer({ lastUpdated: 'refused' });
  for (const number of patients) {
    const id = `p${number}`;
    server.resources.push(patient({ id, number }));
    server.resources.push(observation({ id: `o${number}`, patient: id }), condition({ id: `c${number}`, patient: id }));
  }
  return server;
}

function keys({ taken }: TestIntake): string[] {
  return taken.map(({ facts }) => facts.nativeKey).toSorted();
}

/** Searches by patient, without those that ask what the server can do. */
function visits(server: FhirServer, type = 'Observation'): string[] {
  return server
    .searches(type)
    .filter(({ searchParams }) => searchParams.has('patient'))
    .map(({ search }) => decodeURIComponent(search));
}

describe('a server that cannot tell what changed', () => {
  it('is read patient by patient, byte for byte', async () => {
    const server = await plainServer();
    const { poll, intake } = rig({ url: server.url, types, count: 1 });
    expect(await poll()).toMatchObject({ offered: 6, complete: true });
    expect(keys(intake)).toEqual([
      'Condition/c1',
      'Condition/c2',
      'Observation/o1',
      'Observation/o2',
      'Patient/p1',
      'Patient/p2',
    ]);
    const sent = server.resources.map(({ bytes }) => bytes.toString()).toSorted();
    expect(intake.taken.map(({ bytes }) => bytes.toString()).toSorted()).toEqual(sent);
  });

  it('is visited for each patient again after a day, from some time before the last visit', async () => {
    const server = await plainServer(['1']);
    const { poll, clock } = rig({ url: server.url, types, lookBack: '30d', revisit: '24h' });
    await poll();
    clock.step(dayMs - hourMs);
    server.now += dayMs - hourMs;
    await poll();
    expect(visits(server)).toEqual(['?patient=Patient/p1&_count=500']);
    clock.step(hourMs);
    server.now += hourMs;
    await poll();
    expect(visits(server)).toEqual([
      '?patient=Patient/p1&_count=500',
      '?patient=Patient/p1&date=ge2026-10-24&_count=500',
    ]);
    expect(visits(server, 'Condition').at(-1)).toBe('?patient=Patient/p1&recorded-date=ge2026-10-24&_count=500');
  });

  it('is not asked for the records of somebody who must wait or has said no', async () => {
    const server = await plainServer(['1', '2', '3']);
    const { poll, intake } = rig({ url: server.url, types });
    const wishes = { '1': 'take', '2': 'defer', '3': 'never' } as const;
    intake.wish = ({ normalized }) => wishes[normalized as keyof typeof wishes];
    await poll();
    expect(visits(server)).toEqual(['?patient=Patient/p1&_count=500']);
    expect([...intake.gaps]).toEqual([['Patient/p2', 'DEFERRED']]);
    expect(JSON.stringify(intake.memory())).not.toContain('p3');
  });

  it('is asked for everything of a patient once nothing stands in the way any more', async () => {
    const server = await plainServer(['1']);
    const { poll, intake, clock } = rig({ url: server.url, types });
    intake.wish = () => 'defer';
    await poll();
    intake.wish = () => 'take';
    clock.step(dayMs);
    await poll();
    expect(visits(server)).toEqual(['?patient=Patient/p1&_count=500']);
    expect(intake.gaps).toEqual(new Map());
  });

  it('is asked only for what a patient was told of', async () => {
    const server = await plainServer(['1']);
    const { poll, intake, clock } = rig({ url: server.url, types });
    intake.wish = (_, category) => (category === 'diagnosis' ? 'defer' : 'take');
    await poll();
    expect([visits(server).length, visits(server, 'Condition').length]).toEqual([1, 0]);
    expect([...intake.gaps.values()]).toEqual(['DEFERRED']);
    intake.wish = () => 'take';
    clock.step(dayMs);
    server.now += dayMs;
    await poll();
    expect(visits(server, 'Condition')).toEqual(['?patient=Patient/p1&_count=500']);
    expect(visits(server).at(-1)).toContain('date=ge');
  });

  it('forgets a patient who says no later', async () => {
    const server = await plainServer(['1']);
    const { poll, intake, clock } = rig({ url: server.url, types });
    await poll();
    intake.wish = () => 'never';
    clock.step(dayMs);
    await poll();
    expect(visits(server)).toHaveLength(1);
    expect(Object.keys(intake.memory()).filter((key) => key.startsWith('patient'))).toEqual([]);
  });

  it('is visited again for whoever was not finished when the disk was full', async () => {
    const server = await plainServer();
    const { poll, intake } = rig({ url: server.url, types });
    intake.failure = ({ records }) => (records[0]?.describe().nativeKey === 'Condition/c2' ? bufferFull() : undefined);
    await expect(poll()).rejects.toMatchObject({ code: 'BUFFER_FULL' });
    intake.failure = undefined;
    await poll();
    expect(visits(server)).toEqual(['p1', 'p2', 'p2'].map((id) => `?patient=Patient/${id}&_count=500`));
    expect(keys(intake)).toContain('Condition/c2');
  });

  it('that fails for one patient is still read for the others, and for that one anew', async () => {
    const server = await plainServer();
    const { poll, intake, clock } = rig({ url: server.url, types });
    server.answer = ({ url }) => (url.search.includes('Patient%2Fp1') ? { status: 500 } : undefined);
    await expect(passTime(clock, poll(), 250)).rejects.toMatchObject({ code: 'FHIR_FAILED' });
    expect(keys(intake)).toEqual(['Condition/c2', 'Observation/o2', 'Patient/p1', 'Patient/p2']);
    server.answer = undefined;
    clock.step(dayMs);
    await poll();
    expect(keys(intake)).toContain('Condition/c1');
    expect(visits(server)).toContain('?patient=Patient/p1&_count=500');
  });

  it('knows whom to visit although Patients were read by change before the first type had to be visited', async () => {
    const server = await startServer();
    server.resources.push(patient({ id: 'p1', number: '1' }), observation({ id: 'o1' }));
    const { poll, intake, clock } = rig({ url: server.url, types, since: '2026-01-01' });
    await poll();
    server.answer = ({ url: { pathname, searchParams } }) =>
      pathname.endsWith('/Observation') && searchParams.has('_lastUpdated') ? { status: 400 } : undefined;
    clock.step(dayMs);
    server.now += dayMs;
    await poll();
    expect(visits(server)).toEqual(['?patient=Patient/p1&_count=500']);
    expect(new Set(keys(intake))).toEqual(new Set(['Observation/o1', 'Patient/p1']));
  });

  it('is found out where it ignores the question and answers with everything', async () => {
    const server = await startServer({ lastUpdated: 'ignored' });
    server.resources.push(patient({ id: 'p1', number: '1' }), observation({ id: 'o1' }));
    const { poll, intake } = rig({ url: server.url, types });
    await poll();
    expect(keys(intake)).toEqual(['Observation/o1', 'Patient/p1']);
    expect(visits(server)).toHaveLength(1);
  });
});
