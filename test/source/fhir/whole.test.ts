/** The source against the real buffer and gate: who a resource belongs to, and what may leave, is decided there. */
import { afterEach, describe, expect, it } from 'vitest';
import { dayMs } from '../../base/fake-clock.ts';
import { condition, observation, patient } from '../../peers/fhir/resources.ts';
import { breaches, Flow } from '../../flow/harness.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { rig, startedAt, startServer, stopAll } from './host.ts';
import type { TestIntake } from '../../conformance/intake.ts';

const flows: Flow[] = [];

afterEach(async () => {
  await stopAll();
  for (const flow of flows.splice(0)) flow.remove();
});

function newFlow(): Flow {
  const flow = new Flow();
  flows.push(flow);
  flow.filed();
  flow.told('0012345');
  flow.fresh();
  return flow;
}

function source(flow: Flow, options: Record<string, unknown>) {
  return rig(options, flow.intake('ehr-fhir') as TestIntake, new FakeClock(startedAt));
}

describe('a resource of a patient nobody has heard of', () => {
  it('is held, and may leave in the moment the Patient arrives with a number the register knows', async () => {
    const server = await startServer();
    server.resources.push(observation({ id: 'o1', patient: 'p1' }), condition({ id: 'c1', patient: 'p2' }));
    const flow = newFlow();
    const { poll, clock } = source(flow, {
      url: server.url,
      types: ['Observation', 'Condition', 'Patient'],
      since: '2026-01-01',
    });
    expect(await poll()).toMatchObject({ outcomes: { kept: 0, held: 2 } });

    server.resources.push(patient({ id: 'p1', number: '0012345', changedAt: server.now }));
    server.now += dayMs;
    clock.step(dayMs);
    expect(await poll()).toMatchObject({ outcomes: { kept: 1 } });
    await flow.refresh();
    const parcel = await flow.delivered();
    expect(parcel.records).toBe(2);
    expect(breaches(flow.store)).toEqual([]);
  });

  it('leaves nothing of a patient who has said no', async () => {
    const server = await startServer({ lastUpdated: 'refused' });
    server.resources.push(patient({ id: 'p1', number: '0012345' }), observation({ id: 'o1', patient: 'p1' }));
    const flow = newFlow();
    await flow.stop('0012345');
    const { poll } = source(flow, { url: server.url, types: ['Patient', 'Observation'] });
    expect(await poll()).toMatchObject({ outcomes: { refused: 1, kept: 0, held: 0 } });
    const asked = server.searches('Observation').filter(({ searchParams }) => searchParams.has('patient'));
    expect(asked).toEqual([]);
  });

  it('is known as a duplicate when it is read again, and not stored twice', async () => {
    const server = await startServer();
    server.resources.push(patient({ id: 'p1', number: '0012345' }), observation({ id: 'o1' }));
    const flow = newFlow();
    const options = { url: server.url, types: ['Patient', 'Observation'], since: '2026-01-01', overlap: '7d' };
    const { poll } = source(flow, options);
    expect(await poll()).toMatchObject({ outcomes: { kept: 2 } });
    expect(await poll()).toMatchObject({ offered: 2, outcomes: { kept: 0, duplicate: 2 } });
    expect(breaches(flow.store)).toEqual([]);
  });
});
