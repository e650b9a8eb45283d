import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { account, type Evidence, exitCode, type Fate, kinds, type Offered, total } from './accounting.ts';

const fates = ['delivered', 'held', 'refused', 'quarantined', 'deferred'] as const satisfies readonly Fate[];

/** Records of any kind and fate, each with contents of its own, and some of them offered more than once. */
const offers: fc.Arbitrary<readonly Offered[]> = fc
  .array(
    fc.record({
      kind: fc.constantFrom(...kinds),
      fate: fc.constantFrom(...fates),
      times: fc.integer({ min: 1, max: 3 }),
    }),
    {
      minLength: 1,
      maxLength: 30,
    },
  )
  .map((records) =>
    records.flatMap(({ kind, fate, times }, index) =>
      Array.from({ length: times }, () => ({ kind, source: kind, patientId: 'p', sha256: `digest-${index}`, fate })),
    ),
  );

function distinctOf(offered: readonly Offered[]): Offered[] {
  return [...new Map(offered.map((each) => [each.sha256, each])).values()];
}

/** What a run without any fault leaves behind. */
function faultless(offered: readonly Offered[]): Evidence {
  const records = distinctOf(offered);
  const count = (fate: Fate) => records.filter((record) => record.fate === fate).length;
  return {
    offered,
    arrived: records.filter(({ fate }) => fate === 'delivered'),
    agent: {
      delivered: count('delivered'),
      held: count('held'),
      refused: count('refused'),
      quarantined: count('quarantined'),
      unsettled: 0,
    },
    canaries: 0,
    retracted: { found: 2, wanted: 2 },
    receipts: 4,
    ledgerOk: true,
    seconds: 1,
  };
}

type Fault = (evidence: Evidence) => Evidence;

/** Each makes one thing wrong in any run that has something it can go wrong with. */
const faults: Readonly<Record<string, Fault>> = {
  'a record is lost': (evidence) => ({ ...evidence, arrived: evidence.arrived.slice(1) }),
  'a record arrives twice': (evidence) => ({
    ...evidence,
    arrived: [...evidence.arrived, ...evidence.arrived.slice(0, 1)],
  }),
  'a byte is changed': (evidence) => ({
    ...evidence,
    arrived: evidence.arrived.map((each, index) =>
      index === 0 ? { ...each, sha256: `${each.sha256}-changed` } : each,
    ),
  }),
  'a record arrives under another source': (evidence) => ({
    ...evidence,
    arrived: evidence.arrived.map((each, index) => (index === 0 ? { ...each, source: 'another' } : each)),
  }),
};

const alwaysPossible: Readonly<Record<string, Fault>> = {
  'something nobody sent arrives': (evidence) => ({
    ...evidence,
    arrived: [...evidence.arrived, { source: 'hl7v2', sha256: 'nobody' }],
  }),
  'the agent counts one more as delivered': (evidence) =>
    withAgent(evidence, { delivered: evidence.agent.delivered + 1 }),
  'the agent counts one more as held': (evidence) => withAgent(evidence, { held: evidence.agent.held + 1 }),
  'the agent counts one more as refused': (evidence) => withAgent(evidence, { refused: evidence.agent.refused + 1 }),
  'the agent counts one more as quarantined': (evidence) =>
    withAgent(evidence, { quarantined: evidence.agent.quarantined + 1 }),
  'something is left to be shipped': (evidence) => withAgent(evidence, { unsettled: 1 }),
  'a retraction is missing': (evidence) => ({ ...evidence, retracted: { found: 1, wanted: 2 } }),
  'a name lies in the clear': (evidence) => ({ ...evidence, canaries: 1 }),
  'the ledger does not verify': (evidence) => ({ ...evidence, ledgerOk: false }),
};

function withAgent(evidence: Evidence, agent: Partial<Evidence['agent']>): Evidence {
  return { ...evidence, agent: { ...evidence.agent, ...agent } };
}

describe('the books of the demo', () => {
  it('balance, and let it end with 0, when nothing went wrong', () => {
    fc.assert(
      fc.property(offers, (offered) => {
        const result = account(faultless(offered));
        const { held, refused, quarantined, duplicate, deferred } = result;
        expect(total(result.offered)).toBe(
          total(result.delivered) + held + refused + quarantined + duplicate + deferred,
        );
        expect(total(result.offered)).toBe(offered.length);
        expect(exitCode(result)).toBe(0);
      }),
    );
  });

  it.each(Object.entries(alwaysPossible))('end with 1 when %s', (_name, fault) => {
    fc.assert(
      fc.property(offers, (offered) => {
        expect(exitCode(account(fault(faultless(offered))))).toBe(1);
      }),
    );
  });

  it.each(Object.entries(faults))('end with 1 when %s', (_name, fault) => {
    const some = offers.filter((offered) => offered.some(({ fate }) => fate === 'delivered'));
    fc.assert(
      fc.property(some, (offered) => {
        expect(exitCode(account(fault(faultless(offered))))).toBe(1);
      }),
    );
  });

  it('count whatever arrived and may not leave as leaked', () => {
    fc.assert(
      fc.property(offers, (offered) => {
        const evidence = faultless(offered);
        const result = account({ ...evidence, arrived: distinctOf(offered) });
        expect(result.leaked).toBe(distinctOf(offered).filter(({ fate }) => fate !== 'delivered').length);
        expect(exitCode(result)).toBe(result.leaked === 0 ? 0 : 1);
      }),
    );
  });

  it('end with 1 when nothing was offered at all', () => {
    expect(exitCode(account(faultless([])))).toBe(1);
  });
});
