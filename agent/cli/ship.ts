import type { ShipTally } from '../flow/shipping.ts';
import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '[PRODUCER] [--rejected] [--config FILE]',
  about: 'Ships to a producer, or to all, now. The timetable (`bandwidth`) still says how fast, and when not at all.',
  options: {
    config: configOption,
    rejected: { type: 'boolean', text: 'first make ready again what the producer could not open' },
  },
  positionals: { min: 0, max: 1 },
  run: async ({ config, rejected }, [name], context) => {
    const args = { ...(name !== undefined && { name }), ...(rejected && { rejected }) };
    const results = (await askAgent(config, 'ship', args, context)) as Record<string, ShipTally>;
    context.terminal.result(results);
    if (Object.keys(results).length === 0) context.terminal.say('No producer is configured.');
    for (const [producer, tally] of Object.entries(results)) context.terminal.say(`${producer}: ${sentence(tally)}`);
    return 0;
  },
});

function sentence({ parcels, records, stored, opened, rejected, retractions, pausedBy }: ShipTally): string {
  const sent = parcels === 0 ? 'nothing new was sent' : `${parcels} parcel(s) with ${records} record(s) sent`;
  const told = [
    `${stored} stored`,
    `${opened} opened`,
    ...(rejected > 0 ? [`${rejected} REJECTED`] : []),
    ...(retractions > 0 ? [`${retractions} retracted`] : []),
  ];
  return `${sent}; receipts: ${told.join(', ')}${pausedBy === undefined ? '' : `; paused: ${pausedBy}`}`;
}
