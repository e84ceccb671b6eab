"""Learning from mistakes: files whose truth somebody knows, which every new bundle is checked on."""
