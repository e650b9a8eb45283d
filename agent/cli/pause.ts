import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '[SOURCE|PRODUCER] [--config FILE]',
  about:
    'Stops a source or the shipping to a producer, or everything, until `resume`; kept over restarts. A paused listener is\n' +
    'closed, so the senders keep what they have.',
  options: { config: configOption },
  positionals: { min: 0, max: 1 },
  run: async ({ config }, [name], context) => {
    const result = (await askAgent(config, 'pause', name === undefined ? {} : { name }, context)) as {
      paused: string[];
    };
    context.terminal.result(result);
    context.terminal.say(`paused: ${result.paused.join(', ') || 'nothing is configured'}`);
    return 0;
  },
});
