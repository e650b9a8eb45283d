import { ConnectorError } from '../model/errors.ts';
import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: 'verify [--config FILE]',
  about: 'verify: opens every payload the buffer holds, compares its digest, and walks the ledger. Changes nothing.',
  options: { config: configOption },
  positionals: { min: 1, max: 1 },
  run: async ({ config }, [action], context) => {
    if (action !== 'verify') throw new ConnectorError('USAGE', { problem: 'buffer: expected `verify`.' });
    const result = (await askAgent(config, 'buffer.verify', {}, context)) as { records: number };
    context.terminal.result(result);
    context.terminal.say(`${result.records} payload(s) open and match their digests; the ledger verifies.`);
    return 0;
  },
});
