"""What surrounds the method inside a notebook: session, exercises, training, figures, widgets."""
