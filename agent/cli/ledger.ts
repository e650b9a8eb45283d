import { resolve } from 'node:path';
import { ConnectorError } from '../model/errors.ts';
import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: 'verify | export FILE [--provision] [--patient ID]',
  about: `The ledger: every act on the connector, in a chain nobody can alter unseen.

  verify       walks the chain and holds it against what the producers have witnessed
  export FILE  writes it as CSV; with --provision the record of provision (提供の記録)`,
  options: {
    config: configOption,
    provision: { type: 'boolean', text: 'export: what left, of whom, when, on which notice' },
    patient: { type: 'string', value: 'ID', text: 'export --provision: of one patient only' },
  },
  positionals: { min: 1, max: 2 },
  run: async ({ config, provision, patient }, [action, file], context) => {
    const { terminal } = context;
    if (action === 'verify' && file === undefined) {
      const result = (await askAgent(config, 'ledger.verify', {}, context)) as { entries: number; witnessed: number };
      terminal.result(result);
      terminal.say(
        `The ledger verifies: ${result.entries} entries, ${result.witnessed} of its heads witnessed by producers. / 台帳は正常です。`,
      );
      return 0;
    }
    if (action !== 'export' || file === undefined)
      throw new ConnectorError('USAGE', { problem: 'ledger: expected `verify` or `export FILE`.' });
    const args = {
      file: resolve(file),
      ...(provision && { what: 'provision' }),
      ...(patient !== undefined && { patient }),
    };
    const result = (await askAgent(config, 'ledger.export', args, context)) as { rows: number };
    terminal.result(result);
    terminal.say(`${result.rows} row(s) written to ${file}. It holds patient data in the clear: keep it accordingly.`);
    return 0;
  },
});
